"""A folder as `reconciler init` leaves it, and the command line run in it, in this process and in others.

No test here reaches a host: HOME is empty, so there is no key to log in with and nothing is ever sent.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from reconciler.cli.program import run
from tests.cli.applied import put_applied
from tests.cli.running import PROGRAM, Cli, Done, Write


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to an empty folder with an empty home, and without settings in the environment."""
    for name in [name for name in os.environ if name.startswith(("RECONCILER_", "XDG_", "SSH_"))]:
        monkeypatch.delenv(name)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def cli(folder: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run the command line in this process."""

    def call(*arguments: str) -> Done:
        code = run(arguments)
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return call


@pytest.fixture
def project(folder: Path, cli: Cli) -> Path:
    """Fill the folder with what `init` writes: admin's slice two-vms, and a cluster of four hosts.

    The cluster's id is left out, so that its state has the same default place in every test, and its images have sums.
    """
    assert cli("init").code == 0
    cluster = folder / "cluster.yaml"
    cluster.write_text(re.sub(r"(?m)^id: .*\n", "", cluster.read_text()).replace("0" * 64, "07" * 32))
    return folder


@pytest.fixture
def applied(project: Path) -> Path:
    """Put two-vms into the state as if it was applied."""
    put_applied(project, "slices/two-vms.yaml")
    return project


@pytest.fixture
def process(folder: Path) -> Cli:
    """Run the command line in a process of its own."""

    def call(*arguments: str) -> Done:
        done = subprocess.run(
            [PROGRAM, *arguments], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def write(folder: Path) -> Write:
    """Write a file below the folder."""

    def put(path: str, text: str) -> Path:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        return target

    return put
