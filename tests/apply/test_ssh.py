"""SSH against a server that shows every fault a real one can: keys, logins, busy, dying; and every error mapped."""

from __future__ import annotations

import asyncio
import builtins
import inspect
import shlex
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import asyncssh
import pytest

from reconciler.apply.transport import ssh
from reconciler.apply.transport.batch import Batch, OperationLock, Task, TaskEnded, TaskStarted
from reconciler.apply.transport.command import Command, script
from reconciler.apply.transport.logins import FOREIGN, host_error
from reconciler.apply.transport.ssh import SshConnector, SshTimeouts
from reconciler.apply.transport.targets import Target, target
from reconciler.errors import HostError, HostKeyRejected, HostUnknown, HostUnreachable, LoginRejected
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import HostName
from tests.apply.sshd import HOST, QUICK, Sshd, running


@pytest.fixture
async def sshd(tmp_path: Path) -> AsyncIterator[Sshd]:
    async with running(tmp_path) as server:
        yield server


async def said(connector: SshConnector, text: str = "echo here") -> list[str]:
    try:
        connection = await connector.connect(HOST)
        return [line async for line in connection.run_script(text)]
    finally:
        await connector.close()


async def test_one_connection_is_shared_by_all_callers(sshd: Sshd) -> None:
    connector = sshd.connector()
    found = await asyncio.gather(*(connector.connect(HOST) for _ in range(5)))
    assert len(set(map(id, found))) == len(sshd.connections) == 1
    await connector.close()


async def test_a_root_shell_is_opened_as_the_cluster_file_says(sshd: Sshd) -> None:
    assert await said(sshd.connector(sudo=True)) == ["here"]
    assert await said(sshd.connector(sudo=False)) == ["here"]
    assert sshd.commands == ["sudo -n /bin/sh -s", "/bin/sh -s"]


async def test_a_file_is_put_as_root(sshd: Sshd) -> None:
    connector = sshd.connector(sudo=True)
    there = sshd.disk / "it's; $(id)\n.qcow2"
    await (await connector.connect(HOST)).put(sshd.identity, str(there))
    await connector.close()
    assert there.read_bytes() == sshd.identity.read_bytes()
    size = sshd.identity.stat().st_size
    assert sshd.commands == [shlex.join(["sudo", "-n", "/bin/sh", "-s", "put", str(there), str(size)])]


async def test_an_unknown_host_key_is_refused(sshd: Sshd) -> None:
    sshd.known_hosts.write_text("")
    with pytest.raises(HostKeyRejected, match=r"its host key is not in .*known_hosts, so nothing was sent") as caught:
        await said(sshd.connector())
    assert caught.value.hint is not None
    assert f"ssh-keyscan -p {sshd.port} 127.0.0.1" in caught.value.hint
    assert "compare" in caught.value.hint


async def test_a_changed_host_key_is_refused_as_a_possible_attack(sshd: Sshd) -> None:
    sshd.know(sshd.folder / "id_stranger")
    with pytest.raises(HostKeyRejected, match=r"its host key is not the one in .*known_hosts") as caught:
        await said(sshd.connector())
    assert "may be an attack" in (caught.value.hint or "")


async def test_a_known_key_of_another_kind_is_a_changed_key(sshd: Sshd) -> None:
    key = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_public_key().decode()
    sshd.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} {key}")
    with pytest.raises(HostKeyRejected, match="is not the one in"):
        await said(sshd.connector())


@pytest.mark.parametrize("content", [None, "no such line"])
async def test_without_readable_known_hosts_nothing_is_sent(sshd: Sshd, content: str | None) -> None:
    sshd.known_hosts.unlink()
    if content is not None:
        sshd.known_hosts.write_text(content)
    with pytest.raises(HostKeyRejected, match="known_hosts") as caught:
        await said(sshd.connector())
    assert "ssh-keyscan" in (caught.value.hint or "")
    assert sshd.commands == []


async def test_a_key_that_the_host_does_not_know_is_refused(sshd: Sshd) -> None:
    with pytest.raises(LoginRejected, match="login as root was rejected") as caught:
        await said(sshd.connector(identity_file=str(sshd.folder / "id_stranger")))
    assert "authorized_keys" in (caught.value.hint or "")
    assert len(sshd.connections) == 1  # nobody tries the same wrong key again


@pytest.mark.parametrize(("content", "words"), [(None, "there is no key"), ("nonsense", "cannot be used")])
async def test_a_key_file_that_is_missing_or_none_is_named(sshd: Sshd, content: str | None, words: str) -> None:
    key = sshd.folder / "key"
    if content is not None:
        key.write_text(content)
    with pytest.raises(LoginRejected, match=words):
        await said(sshd.connector(identity_file=str(key)))
    assert sshd.connections == []


async def test_a_key_with_a_passphrase_belongs_into_an_agent(sshd: Sshd) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(sshd.folder / "locked", "pkcs8-pem", passphrase="secret")  # noqa: S106 - an example
    with pytest.raises(LoginRejected, match="cannot be used") as caught:
        await said(sshd.connector(identity_file=str(sshd.folder / "locked")))
    assert "agent" in (caught.value.hint or "")


async def test_dropped_connections_are_tried_again(sshd: Sshd) -> None:
    sshd.drops = 3
    assert await said(sshd.connector()) == ["here"]
    assert len(sshd.connections) == 4


async def test_a_host_that_always_drops_is_given_up(sshd: Sshd) -> None:
    sshd.drops = 100
    with pytest.raises(HostUnreachable):
        await said(sshd.connector())
    assert len(sshd.connections) == QUICK.attempts


async def test_refused_sessions_are_tried_again(sshd: Sshd) -> None:
    sshd.full = 3
    assert await said(sshd.connector()) == ["here"]
    assert len(sshd.connections) == 1


async def test_a_host_without_a_free_session_is_given_up(sshd: Sshd) -> None:
    sshd.full = 100
    with pytest.raises(HostUnreachable, match="no session could be opened: open failed"):
        await said(sshd.connector())
    assert sshd.full == 100 - QUICK.attempts


async def test_where_nothing_listens_the_host_is_unreachable(sshd: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(HostUnreachable, match=f"127.0.0.1 refuses connections on port {port}"):
        await said(sshd.connector(port=port))


async def test_a_host_that_does_not_answer_times_out(sshd: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(HostUnreachable):
            await said(sshd.connector(SshTimeouts(attempts=2, first=0.01, connect=0.1), port=port))


async def test_a_server_that_dies_in_mid_run_is_connected_again_when_next_asked(sshd: Sshd) -> None:
    sshd.cut_after = 1
    connector = sshd.connector()
    run = (await connector.connect(HOST)).run_script("echo one; sleep 0.2; echo two")
    with pytest.raises(HostUnreachable):
        [line async for line in run]
    sshd.cut_after = None
    assert await said(connector) == ["here"]
    assert len(sshd.connections) == 2


async def test_an_end_without_a_status_is_a_lost_connection(sshd: Sshd) -> None:
    sshd.mute = True
    with pytest.raises(HostUnreachable, match="the connection was lost"):
        await said(sshd.connector())


async def test_a_batch_under_which_the_connection_dies_is_never_done(sshd: Sshd) -> None:
    sshd.cut_after = 1
    tasks = (Task(0, (script("sleep 0.2"),)), Task(1, (Command(("true",)),)), Task(2, (), (1,)))
    events: list[TaskStarted | TaskEnded] = []

    async def run() -> None:
        connection = await connector.connect(HOST)
        async for event in connection.run(Batch(tasks, OperationLock(str(sshd.disk / "lock")))):
            events.append(event)  # noqa: PERF401 - what came before the error counts

    connector = sshd.connector()
    with pytest.raises(HostUnreachable):
        await run()
    assert not any(isinstance(event, TaskEnded) for event in events)
    await connector.close()


async def test_an_upload_under_which_the_connection_dies_leaves_what_was_there(sshd: Sshd) -> None:
    source, there = sshd.folder / "big", sshd.disk / "there"
    source.write_bytes(b"x" * 20_000_000)
    there.write_text("before")
    connector = sshd.connector()
    connection = await connector.connect(HOST)

    def cut(sent: int, size: int) -> None:
        if sent < size:
            sshd.connections[-1].abort()

    with pytest.raises(HostUnreachable):
        await connection.put(source, str(there), cut)
    await connector.close()
    assert there.read_text() == "before"


async def test_a_line_without_end_is_cut_off(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "LINE_CAP", 1_000_000)
    with pytest.raises(HostError, match="it printed more than 1000000 bytes"):
        await said(sshd.connector(), "yes | tr -d '\\n'")


async def test_an_output_without_end_is_cut_off(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "TOTAL_CAP", 1_000_000)
    with pytest.raises(HostError, match="it printed more than 1000000 bytes"):
        await said(sshd.connector(), "yes")


async def test_a_forward_to_a_missing_socket_is_closed(sshd: Sshd) -> None:
    connector = sshd.connector()
    connection = await connector.connect(HOST)
    async with connection.forward(str(sshd.disk / "no socket")) as local:
        reader, writer = await asyncio.open_unix_connection(local)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    await connector.close()


def test_a_hosts_own_settings_win_over_the_clusters_and_those_over_defaults(tmp_path: Path) -> None:
    cluster = Cluster.model_validate(
        {
            "version": 1,
            "name": "c",
            "workers": [
                {"name": "plain", "address": "10.0.10.1"},
                {"name": "own", "address": "10.0.10.2", "ssh": {"port": 2222, "sudo": False, "host": "jump.example"}},
            ],
            "network_node": {"name": "gateway", "address": "10.0.10.9", "uplink": "eth0"},
            "ssh": {"user": "admin", "sudo": True, "identity_file": "~/key"},
            "bridge": {"trunk": "trunk"},
        }
    )
    plain, own = target(cluster, HostName("plain")), target(cluster, HostName("own"))
    home = Path.home()
    assert plain == Target(
        HostName("plain"), "10.0.10.1", 22, "admin", home / "key", (home / ".ssh" / "known_hosts",), sudo=True
    )
    assert (own.address, own.port, own.user, own.sudo) == ("jump.example", 2222, "admin", False)
    with pytest.raises(HostUnknown, match="nobody: it is not in the cluster file"):
        target(cluster, HostName("nobody"))


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - a test's waits


def test_waits_double_up_to_a_bound_and_are_spread() -> None:
    timeouts = SshTimeouts(attempts=8, first=0.1, longest=1.0)
    waits = list(timeouts.waits(seeded(1)))
    assert len(waits) == 7
    for attempt, wait in enumerate(waits):
        full = min(0.1 * 2**attempt, 1.0)
        assert full / 2 <= wait <= full
    assert waits != list(timeouts.waits(seeded(2)))


def exceptions() -> list[type[Exception]]:
    """List every exception class that asyncssh has in any module, and those of sockets."""
    modules = [module for _, module in inspect.getmembers(asyncssh, inspect.ismodule)]
    found = {
        each
        for module in [asyncssh, *modules]
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, Exception) and each.__module__.startswith("asyncssh")
    }
    sockets = {each for _, each in inspect.getmembers(builtins, inspect.isclass) if issubclass(each, OSError)}
    return sorted(found | sockets, key=lambda each: each.__qualname__)


@pytest.mark.parametrize("kind", exceptions(), ids=lambda kind: kind.__qualname__)
def test_every_foreign_error_becomes_one_of_ours(kind: type[Exception], tmp_path: Path) -> None:
    (tmp_path / "known_hosts").write_text("")
    where = Target(HOST, "192.0.2.1", 22, "root", None, (tmp_path / "known_hosts",), sudo=False)
    error = kind.__new__(kind)
    mapped = host_error(where, error)
    assert issubclass(kind, FOREIGN)
    assert isinstance(mapped, HostUnreachable | HostKeyRejected | LoginRejected)
    assert mapped.summary.startswith("worker1: ")
