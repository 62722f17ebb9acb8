"""The check at the end of a test run finds what a run leaves: processes, labs, mounts and temporary files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.leftovers import MARK, Run, leftovers, machine


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("RECONCILER_LAB_DIR", str(tmp_path / "labs"))  # this process may have a lab of its own
    folder = tmp_path / "run"
    folder.mkdir()
    return Run("f00", folder, frozenset(machine()))


def test_a_clean_run_leaves_nothing(run: Run) -> None:
    assert leftovers(run, [os.getpid()]) == []


def test_a_process_and_a_file_are_found(run: Run) -> None:
    (run.folder / "scratch").write_text("")
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, env=os.environ | {MARK: "f00"}) as process:
        found = leftovers(run, [])
        process.communicate(b"")
    assert found == [f"process {process.pid}: cat", f"temporary file: {run.folder}/scratch"]


def test_a_lab_is_found_by_the_process_that_made_it(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_LAB_DIR", str(tmp_path))
    (tmp_path / "test-77-1").mkdir()
    assert leftovers(run, [77]) == [f"lab: {tmp_path}/test-77-1"]
    assert leftovers(run, [78]) == []


def test_a_mount_is_found(run: Run) -> None:
    missing = next(iter(run.before))
    assert leftovers(Run(run.mark, run.folder, run.before - {missing}), []) == [missing]
