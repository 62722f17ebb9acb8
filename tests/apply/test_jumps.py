"""Ways to hosts: jump hosts, the user's SSH configuration, agents, certificates, aliases and IPv6, on real servers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncssh
import pytest

from reconciler.apply.transport import liveness
from reconciler.apply.transport.ssh import SshConnector
from reconciler.apply.transport.targets import target
from reconciler.errors import HostKeyRejected, HostUnreachable, LoginRejected
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import HostName
from reconciler.views.consoles import consoles
from reconciler.views.slices import slice_views
from tests.apply.sshd import HOST, QUICK, Sshd, running
from tests.apply.test_ssh import said
from tests.plan.examples import EMPTY, lab, plan
from tests.plan.replay import replay

OTHER = HostName("gateway")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a home without keys, known hosts and agent."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return folder / ".ssh"


@pytest.fixture
async def chain(tmp_path: Path, home: Path) -> AsyncIterator[list[Sshd]]:
    """Two jump hosts and a host behind them; the user's known hosts have the keys of all."""
    async with AsyncExitStack() as stack:
        servers = []
        for name in ("first", "second", "target"):
            (tmp_path / name).mkdir()
            servers.append(await stack.enter_async_context(running(tmp_path / name)))
        for server in servers[:-1]:
            with (server.folder / "authorized_keys").open("a") as file:
                file.write((servers[-1].folder / "id_client.pub").read_text())
        (home / "known_hosts").write_text("\n".join(server.entry() for server in servers))
        yield servers


def through(chain: list[Sshd], home: Path, **login: object) -> SshConnector:
    jumps = ",".join(f"ann@{jump.address}:{jump.port}" for jump in chain[:-1])
    known: dict[str, object] = {"proxy_jump": jumps, "known_hosts": str(home / "known_hosts")}
    return chain[-1].connector(QUICK, **known | login)


async def test_a_host_is_reached_through_two_jump_hosts(chain: list[Sshd], home: Path) -> None:
    first, second, last = chain
    assert await said(through(chain, home)) == ["here"]
    assert [len(server.connections) for server in chain] == [1, 1, 1]
    assert [server.connections[0].get_extra_info("username") for server in chain] == ["ann", "ann", "root"]
    assert last.commands == ["/bin/sh -s"]
    assert first.commands == second.commands == []


async def test_hosts_share_the_connection_to_their_jump_host(chain: list[Sshd], home: Path) -> None:
    connector = through(chain, home)
    await asyncio.gather(connector.connect(HOST), connector.connect(OTHER))
    await connector.close()
    assert [len(server.connections) for server in chain] == [1, 1, 2]


async def test_a_jump_host_that_was_lost_is_connected_again(chain: list[Sshd], home: Path) -> None:
    connector = through(chain, home)
    connection = await connector.connect(HOST)
    chain[0].connections[0].abort()
    with pytest.raises(HostUnreachable):
        [line async for line in connection.run_script("sleep 1; echo here")]
    assert await said(connector) == ["here"]
    assert [len(server.connections) for server in chain] == [2, 2, 2]


async def test_a_host_that_falls_silent_behind_a_living_jump_host_is_given_up(
    chain: list[Sshd], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "INTERVAL", 0.4)  # ten of them are longer than the jump host's keepalives are apart
    frozen, over = asyncio.Event(), asyncio.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (chunk := await reader.read(1 << 16)) and not frozen.is_set():
            writer.write(chunk)
        await over.wait()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", chain[2].port)
        await asyncio.gather(relay(reader, forth), relay(back, writer))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with (home / "known_hosts").open("a") as file:
            file.write("\n" + chain[2].entry(name=f"[127.0.0.1]:{port}"))
        connector = through(chain, home, port=port)
        connection = await connector.connect(HOST)
        frozen.set()
        with pytest.raises(HostUnreachable):
            [line async for line in connection.run_script("echo here")]
        assert connection.lost
        assert not chain[1].connections[0].is_closed()
        over.set()
        await connector.close()


async def test_the_key_of_a_jump_host_is_checked(chain: list[Sshd], home: Path) -> None:
    jump = chain[0]
    (home / "known_hosts").write_text(chain[2].entry())
    with pytest.raises(HostKeyRejected) as caught:
        await said(through([jump, chain[2]], home))
    summary = f"worker1: the host key of the jump host 127.0.0.1 port {jump.port} is not in {home}/known_hosts"
    assert caught.value.summary == f"{summary}, so nothing was sent"
    assert f"`ssh-keyscan -p {jump.port} 127.0.0.1`" in (caught.value.hint or "")
    (home / "known_hosts").write_text(jump.entry(chain[1].folder / "id_host"))
    with pytest.raises(HostKeyRejected, match=r"the host key of the jump host .* is not the one in") as caught:
        await said(through([jump, chain[2]], home))
    assert chain[2].connections == []


async def test_the_key_of_a_host_behind_a_jump_host_is_checked(chain: list[Sshd], home: Path) -> None:
    (home / "known_hosts").write_text(chain[0].entry())
    with pytest.raises(HostKeyRejected, match=r"worker1: its host key is not in") as caught:
        await said(through([chain[0], chain[2]], home))
    assert f"`ssh 127.0.0.1 ssh-keyscan -p {chain[2].port} 127.0.0.1`" in (caught.value.hint or "")
    assert chain[2].commands == []


async def test_a_login_that_a_jump_host_rejects_is_said_to_be_its(chain: list[Sshd], home: Path) -> None:
    async with running(_made(home / "strict")) as strict:
        with (home / "known_hosts").open("a") as file:
            file.write("\n" + strict.entry())
        with pytest.raises(LoginRejected) as caught:
            await said(through([strict, chain[2]], home))
    assert caught.value.summary.startswith(
        f"worker1: login as ann on the jump host 127.0.0.1 port {strict.port} was rejected"
    )
    assert "authorized_keys of 127.0.0.1, or name the user in proxy_jump" in (caught.value.hint or "")
    assert chain[2].connections == []


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def test_a_jump_host_that_forwards_nothing_is_named_and_asked_once(chain: list[Sshd], home: Path) -> None:
    chain[0].forwards = False
    with pytest.raises(HostUnreachable) as caught:
        await said(through([chain[0], chain[2]], home))
    way = f"the jump host 127.0.0.1 port {chain[0].port} does not connect to 127.0.0.1 port {chain[2].port}"
    assert caught.value.summary.startswith(f"worker1: {way}: ")
    assert "AllowTcpForwarding" in (caught.value.hint or "")
    assert len(chain[0].connections) == 1


async def test_where_nothing_listens_behind_or_as_a_jump_host(chain: list[Sshd], home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(HostUnreachable, match=f"the jump host .* does not connect to 127.0.0.1 port {port}"):
        await said(through([chain[0], chain[2]], home, port=port))
    with pytest.raises(HostUnreachable, match=f"the jump host 127.0.0.1 refuses connections on port {port}"):
        await said(through(chain, home, proxy_jump=f"127.0.0.1:{port}"))


def configure(home: Path, text: str) -> None:
    (home / "config").write_text(text)


def configured(sshd: Sshd, host: str = "lab1", **login: object) -> SshConnector:
    settings = {"host": host, "config": True, "sudo": False} | login
    raw = sshd.cluster().model_dump(mode="json") | {"ssh": settings}
    return SshConnector(Cluster.model_validate(raw), timeouts=QUICK)


async def test_the_ssh_configuration_says_what_the_cluster_file_leaves_out(chain: list[Sshd], home: Path) -> None:
    first, second, last = chain
    (home / "more").write_text(f"Host bastion\n HostName 127.0.0.1\n Port {second.port}\n ProxyJump ann@door\n")
    configure(
        home,
        f"Include more\nHost door\n  HostName 127.0.0.1\n  Port {first.port}\n"
        f"Host lab*\n  HostName 127.0.0.1\n  Port {last.port}\n  User root\n  ProxyJump ben@bastion\n"
        f"Host *\n  IdentityFile {last.identity}\n",
    )
    assert await said(configured(last)) == ["here"]
    assert [server.connections[0].get_extra_info("username") for server in chain] == ["ann", "ben", "root"]
    connector = configured(last, user="cecil", proxy_jump="none")
    await said(connector)
    assert last.connections[1].get_extra_info("username") == "cecil"
    assert len(first.connections) == 1


async def test_without_config_true_nothing_is_read_from_there(chain: list[Sshd], home: Path) -> None:
    configure(home, "Host *\n  ProxyJump nowhere.example\n  Port 1\n")
    assert await said(through(chain, home)) == ["here"]


async def test_an_alias_is_the_name_in_known_hosts_and_the_address_is_not(chain: list[Sshd], home: Path) -> None:
    last = chain[2]
    login = f"  HostName 127.0.0.1\n  Port {last.port}\n  User root\n  IdentityFile {last.identity}\n"
    configure(home, f"Host lab1\n  HostKeyAlias the-lab\n{login}")
    address = "\n".join((last.entry(), last.entry(name="127.0.0.1")))
    (home / "known_hosts").write_text(address)
    with pytest.raises(HostKeyRejected, match="its host key is not in") as caught:
        await said(configured(last))
    assert "as the key of the-lab" in (caught.value.hint or "")
    (home / "known_hosts").write_text(last.entry(name="the-lab"))
    assert await said(configured(last)) == ["here"]
    (home / "known_hosts").write_text(f"{address}\n{last.entry(chain[1].folder / 'id_host', 'the-lab')}")
    with pytest.raises(HostKeyRejected, match="its host key is not the one in"):
        await said(configured(last))


@pytest.mark.parametrize("files", ["none", "/dev/null", "~/.ssh/absent"])
async def test_no_setting_turns_the_check_of_host_keys_off(chain: list[Sshd], home: Path, files: str) -> None:
    last = chain[2]
    configure(
        home,
        f"Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile {files}\n  GlobalKnownHostsFile /dev/null\n"
        f"  HostName 127.0.0.1\n  Port {last.port}\n  User root\n  IdentityFile {last.identity}\n",
    )
    with pytest.raises(HostKeyRejected):
        await said(configured(last))
    assert last.commands == []


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    """Run a real agent, which ends with the test."""
    path = tmp_path / "agent"
    with subprocess.Popen(["/usr/bin/ssh-agent", "-D", "-a", str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield path
        finally:
            process.send_signal(signal.SIGTERM)


def add(agent: Path, key: Path) -> None:
    key.chmod(0o600)
    environment = os.environ | {"SSH_AUTH_SOCK": str(agent)}
    subprocess.run(["/usr/bin/ssh-add", "-q", str(key)], env=environment, check=True, capture_output=True)


@pytest.mark.parametrize("form", ["{agent}", "$OUR_AGENT", "SSH_AUTH_SOCK"])
async def test_an_agent_of_the_configuration_is_asked(
    chain: list[Sshd], home: Path, agent: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = chain[2]
    monkeypatch.setenv("OUR_AGENT", str(agent))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
    login = f"Host lab1\n  HostName 127.0.0.1\n  Port {last.port}\n  User root\n"
    configure(home, f"{login}  IdentityAgent {form.format(agent=agent)}\n")
    with pytest.raises(LoginRejected):
        await said(configured(last))
    for key in (last.folder / "id_stranger", last.identity):
        add(agent, key)
    assert await said(configured(last)) == ["here"]
    with (home / "config").open("a") as file:
        file.write(f"  IdentitiesOnly yes\n  IdentityFile {last.folder / 'id_stranger'}.pub\n")
    with pytest.raises(LoginRejected):
        await said(configured(last))


async def test_a_certificate_of_the_configuration_is_offered(tmp_path: Path, home: Path) -> None:
    authority, key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    key.write_private_key(home / "id_ann")
    certificate = authority.generate_user_certificate(key.convert_to_public(), "ann", principals=["root"])
    certificate.write_certificate(home / "signed.pub")
    line = f"\ncert-authority {authority.export_public_key().decode()}"
    async with running(_made(tmp_path / "sshd"), authority=line) as sshd:
        (home / "known_hosts").write_text(sshd.entry())
        login = f"Host lab1\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User root\n  IdentityFile ~/.ssh/id_ann\n"
        configure(home, login)
        with pytest.raises(LoginRejected):
            await said(configured(sshd))
        configure(home, f"{login}  CertificateFile ~/.ssh/signed.pub\n")
        assert await said(configured(sshd)) == ["here"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Host *\n  ProxyJump door\n", "its jump hosts go round in a circle: door -> door"),
        ("Host lab1\n  ProxyJump a\nHost a\n  ProxyJump b\nHost b\n  ProxyJump a\n", "circle: a -> b -> a"),
        ("Host *\n  ProxyCommand nc %h %p\n", "ProxyCommand for it, which is not supported"),
        ("Host *\n  Port many\n", "config line 2: Invalid Port integer value: many"),
        ("Host *\n  ProxyJump [fd00::1\n", "ProxyJump in the SSH configuration is '[fd00::1'"),
    ],
)
async def test_a_configuration_that_cannot_work_is_named(chain: list[Sshd], home: Path, text: str, words: str) -> None:
    configure(home, text)
    with pytest.raises(HostUnreachable) as caught:
        await said(configured(chain[2]))
    assert words in caught.value.summary
    assert caught.value.hint


@pytest.mark.parametrize("form", ["::1", "0:0:0:0:0:0:0:1"])
async def test_a_host_is_reached_by_its_ipv6_address(tmp_path: Path, form: str) -> None:
    async with running(tmp_path, "::1") as sshd:
        assert sshd.known_hosts.read_text().startswith(f"[::1]:{sshd.port} ")
        assert await said(sshd.connector(host=form)) == ["here"]
        sshd.known_hosts.write_text("")
        with pytest.raises(HostKeyRejected) as caught:
            await said(sshd.connector(host=form))
        assert f"`ssh-keyscan -p {sshd.port} ::1`" in (caught.value.hint or "")


async def test_a_way_goes_from_ipv4_to_ipv6_and_back(tmp_path: Path, chain: list[Sshd], home: Path) -> None:
    first, _, last = chain
    async with running(_made(tmp_path / "six"), "::1") as six:
        (six.folder / "authorized_keys").write_text((last.folder / "id_client.pub").read_text())
        with (home / "known_hosts").open("a") as file:
            file.write("\n" + six.entry())
        jumps = f"ann@127.0.0.1:{first.port},ann@[::1]:{six.port}"
        assert await said(through(chain, home, proxy_jump=jumps)) == ["here"]
        assert [len(server.connections) for server in (first, six, last)] == [1, 1, 1]


def test_an_address_of_a_host_may_be_ipv6() -> None:
    cluster = Cluster.model_validate(
        {
            "version": 1,
            "name": "six",
            "workers": [{"name": HOST, "address": "fd00:0::1"}],
            "network_node": {"name": OTHER, "address": "fe80::9%eth0", "uplink": "eth0"},
            "ssh": {"proxy_jump": "ann@[fd00::7]:2222, door"},
            "bridge": {"trunk": "trunk"},
        }
    )
    where = target(cluster, HOST)
    assert (where.address, where.via and where.via.address, where.via and where.via.user) == ("fd00::1", "door", None)
    first = where.via and where.via.via
    assert first is not None
    assert (first.address, first.port, first.user, first.via) == ("fd00::7", 2222, "ann", None)
    assert target(cluster, OTHER).address == "fe80::9%eth0"


async def test_the_command_for_a_console_goes_the_same_way(chain: list[Sshd], home: Path) -> None:
    script = chain[2].folder / "script"
    script.write_text('echo "$1 $2"; exit\n')
    for server in chain:
        server.identity.chmod(0o600)
    jumps = ",".join(f"ann@127.0.0.1:{jump.port}" for jump in chain[:-1])
    cluster = chain[2].cluster(proxy_jump=jumps, known_hosts=str(home / "known_hosts"))
    (one,) = slice_views(replay(EMPTY, plan(lab({"web": {}}))))
    command = consoles(one, cluster, script)["web"].serial
    pipe = asyncio.subprocess.PIPE
    shell = await asyncio.create_subprocess_shell(command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(shell.communicate(), 20)
    assert out.decode() == "forward /var/lib/reconciler/vms/1001/serial.sock\n", err.decode()
    assert [len(server.connections) for server in chain] == [1, 1, 1]
