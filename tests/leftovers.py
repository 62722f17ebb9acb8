"""Finds what a test run leaves on the machine: processes, labs, mounts, interfaces, namespaces and temporary files."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler import lab as labs
from reconciler.lab.folder import locate

MARK: Final = "RECONCILER_TEST_RUN"
"""The environment variable that every process of a run inherits."""

_TRACKER: Final = "multiprocessing.resource_tracker"
"""A process of Python's own that ends with the process that uses it, so after this check."""

_SETTLE_WITHIN: Final = 5.0  # seconds; processes that were told to end need a moment


@dataclass(frozen=True)
class Run:
    """One test run: the value of its mark, its folder for temporary files, and what the machine had before it."""

    mark: str
    folder: Path
    before: frozenset[str]


def begin() -> Run:
    """Start a run: processes that start from now on carry its mark and put temporary files into its folder.

    The folder of pytest itself stays where it is, so that files of failed tests can be read after the run.
    """
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix="run-"))
    folder.chmod(0o755)  # servers that run as another user reach their own folders in it
    run = Run(secrets.token_hex(8), folder, frozenset(machine()))
    os.environ[MARK] = run.mark
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # read TMPDIR again
    return run


def end(run: Run, pids: Iterable[int]) -> list[str]:
    """End a run, whose test processes had these process ids; return what it left, one line each."""
    deadline = time.monotonic() + _SETTLE_WITHIN
    while (found := leftovers(run, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    shutil.rmtree(run.folder)
    return found


def remove_abandoned_labs() -> None:
    """Remove the labs of test processes that were killed before they could do so."""
    for folder in locate("test").path.parent.glob("test-*"):
        pid = folder.name.split("-")[1]
        if folder.is_dir() and pid.isdigit() and not Path("/proc", pid).exists():
            labs.down(folder.name, report=print)


def leftovers(run: Run, pids: Iterable[int]) -> list[str]:
    """Return what there is of a run, one line each."""
    lines = [f"process {pid}: {command}" for pid, command in _processes(run.mark)]
    lines += [f"lab: {path}" for pid in pids for path in _labs(pid)]
    lines += sorted(set(machine()) - run.before)
    lines += [f"temporary file: {path}" for path in sorted(run.folder.iterdir())]
    return lines


def _processes(mark: str) -> Iterator[tuple[int, str]]:
    """Find processes that carry a mark, other than this one."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended, or belongs to another user
            continue
        if f"{MARK}={mark}".encode() in variables and _TRACKER not in command:
            yield int(entry.name), command.strip()


def _labs(pid: int) -> list[Path]:
    """Find the files of labs that the test process with this id made."""
    return sorted(locate("test").path.parent.glob(f"test-{pid}*"))


def machine() -> Iterator[str]:
    """List the network interfaces, named namespaces and mounts of the machine."""
    for what, argv in (("interface", ["ip", "-br", "link"]), ("namespace", ["ip", "netns"])):
        printed = subprocess.run(argv, check=False, capture_output=True, text=True).stdout
        yield from (f"{what}: {line.split()[0]}" for line in printed.splitlines())
    for line in Path("/proc/self/mounts").read_text().splitlines():
        yield f"mount: {line.split()[1]}"
