"""A VNC port that another program took is given to no VM, and a VM that lost its port gets another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reconciler import lab as labs
from tests.lab.site import Site, Vm, on_host, wait_until

pytestmark = pytest.mark.lab

SLICE = "version: 1\nname: screens\nowner: admin\ndefaults: {flavor: cirros}\nvms: {a: {worker: worker1}}\n"
LISTEN = "socket(S,PF_INET,SOCK_STREAM,0);bind(S,sockaddr_in(%d,%s));listen(S,1);sleep"


@contextmanager
def listening(lab: labs.LabInfo, port: int, address: str = "INADDR_LOOPBACK") -> Iterator[None]:
    """Let a program of worker1 listen on a port."""
    on_host(lab, "worker1", f"perl -MSocket -e '{LISTEN % (port, address)}' > /dev/null 2>&1 &")
    wait_until(lambda: f":{port} " in on_host(lab, "worker1", "ss -Hltn"), f"a listener on port {port}")
    try:
        yield
    finally:
        on_host(lab, "worker1", "pkill -f '^perl -MSocket'")


def vm(site: Site) -> tuple[Vm, int]:
    """Return the VM of the slice, and its VNC port."""
    found = site.vms("admin/screens")["a"]
    return found, int(found.data["vnc"].rpartition(":")[2])


def test_a_taken_port_is_passed_over(site: Site) -> None:
    file = site.write(SLICE)
    with listening(site.lab, 5901, "INADDR_ANY"):
        saved = site.folder / "plan"
        assert "vnc 5901" in site.do("plan", "--full", "-o", saved, file).out, "a plan without --refresh asks no host"
        done = site.run("apply", "--auto-approve", saved)
        assert done.code == 1, done.told
        assert "VNC port 5901 of worker1, which the plan gives admin/screens/a, is taken by another program" in done.err
        assert "vnc 5902" in site.do("plan", "--full", "--refresh", file).out
        site.apply(file)
        assert vm(site)[1] == 5902
    site.in_sync(file)


def test_a_vm_that_lost_its_port_gets_another_one(site: Site) -> None:
    file = site.write(SLICE)
    site.apply(file)
    killed, port = vm(site)
    on_host(site.lab, "worker1", f"kill -9 {killed.pid}")
    wait_until(lambda: f":{port} " not in on_host(site.lab, "worker1", "ss -Hltn"), "the end of the VM")
    with listening(site.lab, port):
        done = site.apply(file)
        assert f"vnc {port + 1}" in done.out, done.told
        assert vm(site)[1] == port + 1
    site.in_sync(file)
    site.apply(file)
    assert vm(site)[1] == port + 1, "a VM that runs keeps its port"
