"""Telling a process from a later one of the same number: a lock is taken over only where its holder surely ended."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.state.locks.process import gone, identify

ME = os.getpid()


def test_a_process_that_runs_is_not_gone() -> None:
    assert not gone(ME, identify(ME))


def test_a_process_that_ended_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    was = identify(process.pid)
    process.communicate(b"\n")
    assert gone(process.pid, was)


def test_a_process_that_ended_and_was_not_reaped_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    was = identify(process.pid)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert gone(process.pid, was)
    process.communicate()


def test_a_later_process_of_the_same_number_is_another() -> None:
    assert gone(ME, replace(identify(ME), process="1"))


def test_no_process_outlives_a_boot() -> None:
    assert gone(ME, replace(identify(ME), boot="another"))


def test_of_a_namesake_of_this_machine_nothing_is_known() -> None:
    was = replace(identify(ME), machine="another", boot="another", process="1")
    assert not gone(ME, was)


@pytest.mark.root
def test_of_a_process_in_another_pid_namespace_nothing_is_known() -> None:
    """Containers may share host name and machine id; a process of one is not gone because another does not see it."""
    look = (
        "from reconciler.state.locks.process import *; import os, sys; print(gone(int(sys.argv[1]), eval(sys.argv[2])))"
    )
    arguments = [sys.executable, "-c", look, "2000000", repr(identify(ME))]
    inside = ["unshare", "--pid", "--fork", "--mount-proc"]
    for prefix, known in (([], "True"), (inside, "False")):
        done = subprocess.run([*prefix, *arguments], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == known, "PID 2000000 does not run, but only here is that certain"


def test_a_program_may_have_any_name(tmp_path: Path) -> None:
    program = tmp_path / "x) R 1 (y"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "30"]) as process:
        try:
            assert int(identify(process.pid).process or "") >= int(identify(ME).process or "")
        finally:
            process.kill()
