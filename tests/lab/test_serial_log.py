"""On hosts: a guest that writes to its serial port without end takes a bounded part of its worker's disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.lab.site import Site, on_host, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.guests]

SLICE = """\
version: 1
name: chatty
owner: admin
vms:
  a: {flavor: cirros, worker: worker1}
"""
LIMIT = 64 * 2**10
LOG = "/var/lib/reconciler/vms/1001/serial.log"
SAY = "i=0; while [ $i -lt {count} ]; do echo line-$i-of-many-that-this-guest-writes-to-its-port; i=$((i+1)); done"


def with_limit(site: Site) -> Path:
    """Write a cluster file like that of the lab, with the least limit for logs."""
    yaml = YAML(typ="safe")
    cluster = yaml.load(site.cluster)
    cluster["limits"] = {"serial_log": "64KiB"}
    path = site.folder / "limited.yaml"
    with path.open("w") as stream:
        yaml.dump(cluster, stream)
    return path


def say(site: Site, count: int) -> list[int]:
    """Let the guest write so many lines, and return the sizes of both parts of its log."""
    site.vms("chatty")["a"].run(SAY.format(count=count))
    newest = on_host(site.lab, "worker1", f"cat {LOG}.1 {LOG} 2>/dev/null | tail -c 1000")
    # On a busy machine QEMU may log a byte twice: that costs one of these lines, not all.
    assert any(f"line-{number}-of-many" in newest for number in range(count - 10, count)), newest
    return sizes_of_log(site)


def sizes_of_log(site: Site) -> list[int]:
    return [int(size) for size in on_host(site.lab, "worker1", f"stat -c %s {LOG} {LOG}.1 2>/dev/null || :").split()]


def test_the_limit_holds_from_the_next_start_on(own_site: Callable[..., Site]) -> None:
    site = own_site(workers=1)
    path = site.write(SLICE)
    site.apply(path)
    (before,) = say(site, 3_000)
    assert before > 2 * LIMIT, "two mebibytes, unless the cluster file says otherwise"

    pid = site.vms("chatty")["a"].pid
    site = replace(site, cluster=with_limit(site))
    planned = site.do("plan", path).out
    assert "serial_log = 2MiB -> 64KiB" in planned
    assert "restart" not in planned
    site.apply(path)
    assert site.vms("chatty")["a"].pid == pid
    site.in_sync(path)

    on_host(site.lab, "worker1", f"kill -KILL {pid}; while [ -e /proc/{pid} ]; do sleep 0.05; done")
    site.apply(path)
    site.in_sync(path)
    for _ in range(2):
        sizes = say(site, 3_000)
        assert LIMIT // 2 <= sum(sizes) <= LIMIT

    site.vms("chatty")["a"].run("(sleep 1; yes $(seq -s. 40) > /dev/ttyS0) > /dev/null 2>&1 &")
    wait_until(
        lambda: "37.38.39.40" in on_host(site.lab, "worker1", f"tail -c 500 {LOG} 2>/dev/null || :"),
        "output without end",
    )
    for _ in range(40):
        assert sum(sizes_of_log(site)) <= LIMIT

    site.destroy("chatty")
    assert on_host(site.lab, "worker1", "ls /var/lib/reconciler/vms; pgrep -f [s]erial-log || :") == ""
