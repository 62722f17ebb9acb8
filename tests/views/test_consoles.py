"""The commands that reach consoles, for each way to log in; a shell reads them back as they are meant."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from reconciler.spec.models.cluster import Cluster
from reconciler.views.consoles import consoles
from reconciler.views.slices import slice_views
from tests.plan.examples import EMPTY, lab, plan
from tests.plan.replay import replay

SOCKET = "/var/lib/reconciler/vms/1001/serial.sock"
(SLICE,) = slice_views(replay(EMPTY, plan(lab({"web": {}}))))


def cluster(worker: str = "worker1", **ssh: Any) -> Cluster:
    return Cluster.model_validate(
        {
            "version": 1,
            "name": "c",
            "workers": [{"name": worker, "address": "10.0.10.1"}],
            "network_node": {"name": "gateway", "address": "10.0.10.9", "uplink": "eth0"},
            "ssh": ssh,
            "bridge": {"trunk": "trunk"},
        }
    )


@pytest.mark.parametrize(
    ("settings", "ssh"),
    [
        ({}, "ssh 10.0.10.1"),
        ({"user": "ann", "port": 2201, "host": "::1"}, "ssh -p 2201 ann@::1"),
        ({"identity_file": "~/.ssh/my key"}, "ssh -i ~/'.ssh/my key' -o IdentitiesOnly=yes 10.0.10.1"),
        ({"known_hosts": "/etc/known"}, "ssh -o UserKnownHostsFile=/etc/known 10.0.10.1"),
        ({"known_hosts": "~/.ssh/known_hosts", "proxy_jump": "none"}, "ssh 10.0.10.1"),
        ({"proxy_jump": "door", "config": True}, "ssh -o ProxyJump=door 10.0.10.1"),
    ],
)
def test_the_command_logs_in_as_the_reconciler_does(settings: dict[str, Any], ssh: str) -> None:
    found = consoles(SLICE, cluster(**settings), Path("/opt/a b/forward.sh"))["web"]
    program, _, rest = ssh.partition(" ")
    assert found.vnc == f"{program} -N -L 5901:127.0.0.1:5901 {rest}"
    forward = f"cat '/opt/a b/forward.sh' - | {ssh} '/bin/sh -s forward {SOCKET}'"
    assert found.serial == f"stty -icanon -echo; {forward}; stty sane"


def test_jump_hosts_are_reached_with_the_same_key() -> None:
    settings = {"proxy_jump": "ann@door:2222,[fd00::1]", "identity_file": "/k"}
    words = shlex.split(consoles(SLICE, cluster(**settings), Path("/f"))["web"].vnc)
    key = ["-i", "/k", "-o", "IdentitiesOnly=yes"]
    last, first = "ProxyCommand=ssh -W", "ssh -W '[%%h]:%%p' -i /k -o IdentitiesOnly=yes -p 2222 ann@door"
    assert words[:8] == ["ssh", "-N", "-L", "5901:127.0.0.1:5901", *key]
    assert words[9].startswith(last)
    inner = shlex.split(words[9].removeprefix("ProxyCommand="))
    assert inner == ["ssh", "-W", "[%h]:%p", *key, "-o", f"ProxyCommand={first}", "fd00::1"]


def test_root_is_reached_by_sudo_where_the_reconciler_uses_it() -> None:
    assert f"'sudo -n /bin/sh -s forward {SOCKET}'" in consoles(SLICE, cluster(sudo=True), Path("/f"))["web"].serial


def test_a_worker_that_the_cluster_file_does_not_have_has_no_command() -> None:
    assert consoles(SLICE, cluster("other"), Path("/f")) == {}
