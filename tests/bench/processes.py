"""Runs whole programs and says what each took, as its operating system counts it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from time import perf_counter
from typing import Final

PROGRAM: Final = str(Path(sys.executable).with_name("reconciler"))


@dataclass(frozen=True, slots=True)
class Run:
    """A program's run: seconds by the clock and of processor time, its largest size in MiB, and what it printed."""

    seconds: float
    cpu: float
    size: float
    out: str


def run(argv: Sequence[str], env: Mapping[str, str] | None = None) -> Run:
    """Run a program to its end, which must be a success; RuntimeError says what it wrote on standard error."""
    with TemporaryFile() as out, TemporaryFile() as err:
        started = perf_counter()
        process = subprocess.Popen(argv, env=_environment(env or {}), stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            err.seek(0)
            raise RuntimeError(f"{argv[0]} ended with {process.returncode}: {err.read().decode()}")
        out.seek(0)
        return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out.read().decode())


def median_run(argv: Sequence[str], times: int, env: Mapping[str, str] | None = None) -> Run:
    """Run a program a few times after one that warms its files up, and return the middle of what the runs took."""
    run(argv, env)
    runs = [run(argv, env) for _ in range(times)]
    return Run(
        median(one.seconds for one in runs), median(one.cpu for one in runs), max(one.size for one in runs), runs[0].out
    )


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without settings of ours, and with compiled modules kept."""
    dropped = ("RECONCILER_", "PYTHONDONTWRITEBYTECODE")
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(dropped) or key == "RECONCILER_LAB_DIR"
    }
    return kept | dict(more)
