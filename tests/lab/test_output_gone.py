"""An apply goes on, and finishes what is in flight, when nobody can read its output any more."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time
from pathlib import Path

import pytest

from tests.lab.site import EXAMPLES, PROGRAM, Site

pytestmark = pytest.mark.lab

TWO_VMS = EXAMPLES / "two-vms.yaml"


def environment(site: Site) -> dict[str, str]:
    return os.environ | {"RECONCILER_CLUSTER": str(site.cluster), "RECONCILER_STATE": str(site.state)}


def in_shell(site: Site, redirections: str, *arguments: str | Path) -> int:
    """Run in a shell with redirections, and return the exit code."""
    argv = ["sh", "-c", f'"$@" {redirections}', "sh", str(PROGRAM), *map(str, arguments)]
    return subprocess.run(argv, env=environment(site), stdout=subprocess.DEVNULL, check=False, timeout=120).returncode


def last_result(site: Site) -> str:
    return str(json.loads(site.do("history", "--json").out)[0]["result"])


def test_an_apply_whose_progress_cannot_be_written_completes(site: Site) -> None:
    assert in_shell(site, "2> /dev/full", "apply", "--auto-approve", TWO_VMS) == 0
    assert last_result(site) == "done"
    site.in_sync(TWO_VMS)
    assert in_shell(site, "2>&1 >/dev/full | head -n 1", "destroy", "--auto-approve", "two-vms") == 0
    assert last_result(site) == "done"
    assert site.slices() == []


def test_a_terminal_that_hangs_up_ends_an_apply_as_a_request_to_terminate_does(site: Site) -> None:
    ours, theirs = pty.openpty()
    argv = ["setsid", "--ctty", str(PROGRAM), "apply", "--auto-approve", str(TWO_VMS)]
    process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(site))
    os.close(theirs)
    said = b""
    while b"created" not in said:
        said += os.read(ours, 4096)
    os.close(ours)
    process.wait(timeout=60)
    time.sleep(0.1)
    assert last_result(site) in {"done", "failed"}, "it finished what was in flight, and wrote that down"
    site.apply(TWO_VMS)
    site.in_sync(TWO_VMS)
