"""If an sshd has no free session or connection, the connection is tried again, and every batch runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reconciler import lab as labs
from reconciler.apply.transport.ssh import SshConnector
from reconciler.spec.load import load_cluster
from reconciler.spec.models.names import HostName
from reconciler.trees import DISK
from tests.lab.site import Site, on_host, wait_until
from tests.lab.wire import Wired, dialler_within

pytestmark = pytest.mark.lab

CONFIG = "/run/lab/sshd_config"
PORT = 2222  # on the loopback of the host
SLICE = """
version: 1
name: {name}
owner: admin
defaults: {{flavor: cirros}}
vms: {{a: {{worker: worker1}}, b: {{worker: worker1}}}}
links: [[a, b]]
"""


@contextmanager
def sshd_option(site: Site, option: str) -> Iterator[None]:
    """Set an option for the connections that are made from now on to worker1."""
    on_host(site.lab, "worker1", f"cp -p {CONFIG} {CONFIG}.kept; echo '{option}' >> {CONFIG}")
    try:
        yield
    finally:
        on_host(site.lab, "worker1", f"mv {CONFIG}.kept {CONFIG}")


@contextmanager
def listening_sshd(site: Site) -> Iterator[int]:
    """Run an sshd on worker1 that listens itself, with places for three who have yet to log in.

    Gives the PID 1 of the host; what sshd says goes to /run/lab/sshd.log.
    """
    options = f"-o MaxStartups=3:100:3 -o PidFile=/run/lab/sshd.pid -o ListenAddress=127.0.0.1:{PORT}"
    on_host(site.lab, "worker1", f"/usr/sbin/sshd -f {CONFIG} -E /run/lab/sshd.log {options}")
    wait_until(lambda: on_host(site.lab, "worker1", "cat /run/lab/sshd.pid || :") != "", "sshd to listen")
    try:
        pid = next(host.pid for host in labs.status(site.lab.name).hosts if host.name == "worker1")
        assert pid is not None
        yield pid
    finally:
        on_host(site.lab, "worker1", "kill $(cat /run/lab/sshd.pid); rm -f /run/lab/sshd.*")


def said(site: Site) -> str:
    return on_host(site.lab, "worker1", "cat /run/lab/sshd.log")


def test_more_sessions_than_the_host_allows(site: Site) -> None:
    """The host counts who is in at once, so that it is seen that two were in and never more."""
    count = "mkdir /tmp/in.$$; ls -d /tmp/in.* | wc -l; sleep 0.3; rmdir /tmp/in.$$"

    async def ask(connector: SshConnector) -> list[str]:
        connection = await connector.connect(HostName("worker1"))
        return [line async for line in connection.run_script(count)]

    async def ask_all() -> list[list[str]]:
        connector = SshConnector(load_cluster(DISK, site.cluster).cluster)
        try:
            return await asyncio.gather(*(ask(connector) for _ in range(6)))
        finally:
            await connector.close()

    with sshd_option(site, "MaxSessions 2"):
        answers = asyncio.run(ask_all())
    assert [len(lines) for lines in answers] == [1] * 6
    assert max(int(lines[0]) for lines in answers) == 2


def test_more_at_once_than_the_host_lets_in(site: Site) -> None:
    slices = {name: site.write(SLICE.format(name=name)) for name in ("first", "second")}
    site.apply(*slices.values())
    with (
        sshd_option(site, "MaxSessions 2"),
        listening_sshd(site) as pid,
        Wired.around(site, {"worker1": dialler_within(pid, PORT)}) as wired,
    ):
        taken = [dialler_within(pid, PORT)() for _ in range(3)]
        asking = [wired.start("doctor") for _ in range(2)]
        for name, path in slices.items():
            asking.append(wired.start("plan", "--refresh", path))
            asking.append(wired.start("apply", "--auto-approve", "--replace", f"trunk/admin/{name}@worker1", path))
        wait_until(lambda: "MaxStartups" in said(site), "someone to be turned away")
        for place in taken:
            place.close()
        answers = [each.finish() for each in asking]
        for done in answers:
            assert done.code == 0, done.told
        assert sum("1 replaced" in done.out for done in answers) == len(slices)
        assert wired.wires["worker1"].seen.connections > len(asking), "some were turned away and came back"
    site.in_sync(*slices.values())
