"""The verbs that only read hosts: `doctor` and `drift`, on hosts that meet the requirements and on others."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler import lab as labs

pytestmark = pytest.mark.lab

PROGRAM = str(Path(sys.executable).with_name("reconciler"))
EMPTY_TRUNK = ("ovs-vsctl", "clear", "Port", "ens4", "trunks")


def look(cluster: Path, verb: str, state: Path) -> tuple[int, Any]:
    argv = [PROGRAM, verb, "--json", "--cluster", str(cluster), "--state", str(state / "record.db")]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def verdicts(host: dict[str, Any]) -> dict[str, str]:
    return {check["check"]: check["verdict"] for check in host["checks"]}


def test_every_host_of_a_lab_is_fit(lab: labs.LabInfo, tmp_path: Path) -> None:
    code, found = look(lab.cluster_file, "doctor", tmp_path)
    assert (code, found["fit"]) == (0, True)
    assert [host["host"] for host in found["hosts"]] == [*(host.name for host in labs.status(lab.name).hosts), None]
    assert {verdict for host in found["hosts"] for verdict in verdicts(host).values()} <= {"ok", "info"}


def test_doctor_leaves_nothing_on_a_host(own_lab: Callable[..., labs.LabInfo], tmp_path: Path) -> None:
    fresh = own_lab()
    assert look(fresh.cluster_file, "doctor", tmp_path)[0] == 0
    for host in labs.status(fresh.name).hosts:
        assert labs.exec_in(fresh.name, host.name, ["sh", "-c", "! ls -A /var/lib/reconciler | grep ."]) == 0
        assert labs.exec_in(fresh.name, host.name, ["sh", "-c", "! nft list tables | grep fitness"]) == 0


def test_what_is_wrong_with_one_host_hides_no_other(own_lab: Callable[..., labs.LabInfo], tmp_path: Path) -> None:
    broken = own_lab(3)
    one, two, three, node = labs.status(broken.name).hosts
    assert labs.exec_in(broken.name, two.name, list(EMPTY_TRUNK)) == 0
    assert labs.exec_in(broken.name, three.name, ["ovs-vsctl", "del-port", "br-int", "ens4"]) == 0
    assert labs.exec_in(broken.name, node.name, ["ip", "route", "del", "default"]) == 0
    text = broken.cluster_file.read_text()
    cluster = broken.cluster_file.with_name("unreachable.yaml")
    cluster.write_text(text.replace(f"port: {one.port}", "port: 1"))
    code, found = look(cluster, "doctor", tmp_path)
    hosts = {host["host"]: host for host in found["hosts"]}
    assert (code, found["fit"]) == (1, False)
    assert [(check["check"], check["verdict"]) for check in hosts[one.name]["checks"]] == [("ssh", "fail")]
    assert all(hosts[one.name]["checks"][0][key] for key in ("found", "remedy"))
    assert (hosts[two.name]["fit"], verdicts(hosts[two.name])["trunk"]) == (True, "warn")
    assert (hosts[three.name]["fit"], verdicts(hosts[three.name])["trunk"]) == (False, "fail")
    assert (hosts[node.name]["fit"], verdicts(hosts[node.name])["uplink"]) == (False, "fail")


def test_an_empty_state_has_no_drift(lab: labs.LabInfo, tmp_path: Path) -> None:
    code, found = look(lab.cluster_file, "drift", tmp_path)
    assert (code, found["resources"], found["resource_drift"], found["unread"]) == (0, 0, [], [])
