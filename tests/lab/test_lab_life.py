"""A lab starts, repairs itself, runs beside others, and is removed completely, whatever was killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler import lab as labs
from reconciler.errors import LabError
from reconciler.lab import process
from reconciler.lab.folder import locate

pytestmark = pytest.mark.lab

_KINDS = ("net", "mnt", "pid", "uts")
_UP = "import sys; from reconciler import lab; lab.up(sys.argv[1], 1, report=lambda line: print(line, flush=True))"


def _machine() -> dict[str, str]:
    """Describe all that a lab could leave on the machine, outside its own files."""
    links = subprocess.run(["ip", "-o", "link"], check=True, text=True, capture_output=True).stdout
    return {
        "interfaces": "\n".join(sorted(line.split()[1] for line in links.splitlines())),
        "named namespaces": subprocess.run(["ip", "netns"], check=True, text=True, capture_output=True).stdout,
        "mounts": Path("/proc/self/mounts").read_text(),
    }


def _namespaces(pid: int | str) -> set[str]:
    try:
        return {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in _KINDS}
    except OSError:  # it has just ended
        return set()


def _of_lab(name: str) -> set[str]:
    """Name every namespace that the lab's processes live in and this test does not."""
    found: set[str] = set()
    for one in process.find(locate(name)):
        found |= _namespaces(one.pid)
    return found - _namespaces("self")


def _all_processes() -> list[str]:
    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _assert_gone(name: str, namespaces: set[str]) -> None:
    folder = locate(name)
    assert process.find(folder) == ()
    assert not folder.path.exists()
    assert not folder.path.with_name(f"{name}.lock").exists()
    # What runs a command inside a host ends by itself just after the host, on a busy machine a little later.
    until = time.monotonic() + 5
    while (left := [pid for pid in _all_processes() if _namespaces(pid) & namespaces]) and time.monotonic() < until:
        time.sleep(0.05)
    assert left == []


def test_down_leaves_nothing(lab_name: str) -> None:
    before = _machine()
    labs.up(lab_name, 2, report=print)
    assert (
        labs.run_in(lab_name, "worker1", ["sh", "-c", "ip netns add slice && sleep 1000 > /dev/null 2>&1 &"]).returncode
        == 0
    )
    namespaces = _of_lab(lab_name)
    during = _machine()
    labs.down(lab_name, report=print)
    assert len(namespaces) >= 3 * len(_KINDS)
    assert during == before, "the lab shows on the machine while it is up"
    assert _machine() == before
    _assert_gone(lab_name, namespaces)


def test_down_twice_and_without_a_lab(lab_name: str) -> None:
    said: list[str] = []
    labs.down(lab_name, report=said.append)
    labs.down(lab_name, report=said.append)
    assert said == [f"there is no lab {lab_name}"] * 2
    assert not locate(lab_name).path.exists()


def test_up_again_changes_nothing_and_is_quick(lab: labs.LabInfo) -> None:
    before = labs.status(lab.name)
    file = lab.cluster_file.read_text()
    began = time.monotonic()
    again = labs.up(lab.name, report=print)
    assert time.monotonic() - began < 5
    assert again == lab
    assert labs.status(lab.name) == before
    assert lab.cluster_file.read_text() == file


def test_up_is_quick_with_the_image_cached(lab: labs.LabInfo, lab_name: str) -> None:
    began = time.monotonic()
    labs.up(lab_name, report=print)
    assert time.monotonic() - began < 10


def test_up_restarts_a_dead_host_and_leaves_the_others(own_lab: Callable[..., labs.LabInfo]) -> None:
    name = own_lab(workers=2).name
    before = {host.name: host for host in labs.status(name).hosts}
    labs.pull_plug(name, "worker1")
    assert [host.name for host in labs.status(name).hosts if not host.up] == ["worker1"]
    assert labs.status(name).remedy == f"reconciler lab up --name {name} --workers 2"
    labs.up(name, 2, report=print)
    after = {host.name: host for host in labs.status(name).hosts}
    assert labs.status(name).up
    assert after["worker1"].port == before["worker1"].port
    assert after["worker1"].pid != before["worker1"].pid
    assert after["worker2"] == before["worker2"]


def test_up_heals_the_wiring(own_lab: Callable[..., labs.LabInfo]) -> None:
    name = own_lab(workers=1).name
    ping = ["busybox", "ping", "-c", "1", "-W", "5", "10.0.10.254"]
    assert labs.run_in(name, "worker1", ping).returncode == 0
    before = labs.status(name)
    for part in ("fabric", "internet"):
        process.end(locate(name), part)
    labs.up(name, 1, report=print)
    assert labs.status(name) == before
    assert labs.run_in(name, "worker1", ping).returncode == 0
    page = labs.run_in(name, "gateway", ["busybox", "wget", "-q", "-O", "-", "http://203.0.113.10/"])
    assert "outside world" in page.stdout


def test_up_adds_workers_and_refuses_to_drop_them(own_lab: Callable[..., labs.LabInfo]) -> None:
    name = own_lab(workers=1).name
    before = {host.name: host for host in labs.status(name).hosts}
    labs.up(name, 2, report=print)
    after = {host.name: host for host in labs.status(name).hosts}
    assert list(after) == ["worker1", "worker2", "gateway"]
    assert before.items() <= after.items()
    with pytest.raises(LabError, match="has 2 workers, and 1 were requested"):
        labs.up(name, 1, report=print)


@pytest.mark.parametrize("delay", [0.05, 0.2, 0.35, 0.5, 0.7])
def test_down_after_up_was_killed(lab: labs.LabInfo, lab_name: str, delay: float) -> None:
    before = _machine()
    with subprocess.Popen([sys.executable, "-c", _UP, lab_name], stdout=subprocess.PIPE, text=True) as going:
        assert going.stdout is not None
        assert going.stdout.readline() == "starting worker1, gateway\n"
        time.sleep(delay)
        going.kill()
    namespaces = _of_lab(lab_name)
    labs.down(lab_name, report=print)
    assert _machine() == before
    _assert_gone(lab_name, namespaces)


def test_up_after_up_was_killed(lab: labs.LabInfo, lab_name: str) -> None:
    with subprocess.Popen([sys.executable, "-c", _UP, lab_name], stdout=subprocess.PIPE, text=True) as going:
        assert going.stdout is not None
        assert going.stdout.readline() == "starting worker1, gateway\n"
        time.sleep(0.15)
        going.kill()
    labs.up(lab_name, 1, report=print)
    assert labs.status(lab_name).up


def test_two_ups_at_once_make_one_lab(lab: labs.LabInfo, lab_name: str) -> None:
    commands = [sys.executable, "-c", _UP, lab_name]
    both = [subprocess.Popen(commands, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate(timeout=60)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert sum("starting worker1, gateway" in each for each in said) == 1
    assert sum(one.program == "tini" for one in process.find(locate(lab_name))) == 2


def test_two_labs_run_side_by_side(lab: labs.LabInfo, own_lab: Callable[..., labs.LabInfo]) -> None:
    other = own_lab(workers=1)
    before = labs.status(lab.name)
    ports = [host.port for name in (lab.name, other.name) for host in labs.status(name).hosts]
    assert len(set(ports)) == len(ports)
    labs.run_in(other.name, "worker1", ["touch", "/var/lib/reconciler/mine"])
    assert labs.run_in(lab.name, "worker1", ["ls", "/var/lib/reconciler/mine"]).returncode != 0
    labs.down(other.name, report=print)
    assert labs.status(lab.name) == before


@pytest.mark.parametrize("name", ["", "Lab", "1lab", "a/b", "..", "a" * 22, "-lab", "lab\n", "läb"])
def test_names_that_cannot_be_a_folder(name: str) -> None:
    with pytest.raises(LabError, match="is not a valid lab name"):
        labs.status(name)
