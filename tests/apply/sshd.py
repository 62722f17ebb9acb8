"""An SSH server in this process: real keys, real shells in a folder, and the faults that a real one can show."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from reconciler.apply.transport.ssh import SshConnector, SshTimeouts
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import HostName
from tests.apply.localhost import end

HOST = HostName("worker1")
QUICK = SshTimeouts(attempts=6, first=0.01, longest=0.05, connect=5.0)


@dataclass
class Sshd:
    """A running server, and what it will do wrong.

    The next `drops` connections are dropped before a word, as MaxStartups does; the next `full` sessions are refused,
    as MaxSessions does. `cut_after` bytes of output the connection is torn down; `mute` ends commands without a status.
    """

    folder: Path
    address: str = "127.0.0.1"
    forwards: bool = True
    drops: int = 0
    full: int = 0
    cut_after: int | None = None
    mute: bool = False
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    serving: list[asyncio.Task[None] | None] = field(default_factory=list)
    port: int = 0

    @property
    def identity(self) -> Path:
        return self.folder / "id_client"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    def know(self, key: Path) -> None:
        """Vouch for a host key."""
        self.known_hosts.write_text(self.entry(key))

    def entry(self, key: Path | None = None, name: str | None = None) -> str:
        """Write the line of known_hosts for a host key: this server's, unless another is given."""
        public = asyncssh.read_public_key((key or self.folder / "id_host").with_suffix(".pub"))
        return f"{name or f'[{self.address}]:{self.port}'} {public.export_public_key().decode()}"

    def cluster(self, **ssh: object) -> Cluster:
        login = {
            "user": "root",
            "host": self.address,
            "port": self.port,
            "identity_file": str(self.identity),
            "known_hosts": str(self.known_hosts),
            "sudo": False,
        } | ssh
        return Cluster.model_validate(
            {
                "version": 1,
                "name": "test",
                "workers": [{"name": HOST, "address": "127.0.0.1"}],
                "network_node": {"name": "gateway", "address": "127.0.0.1", "uplink": "eth0"},
                "ssh": login,
                "bridge": {"trunk": "trunk"},
            }
        )

    def connector(self, timeouts: SshTimeouts = QUICK, **ssh: object) -> SshConnector:
        return SshConnector(self.cluster(**ssh), timeouts=timeouts)

    async def serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Run one command, as sshd's session does."""
        command = process.command or ""
        self.commands.append(command)
        self.serving.append(asyncio.current_task())
        pipe = asyncio.subprocess.PIPE
        environment = os.environ | {"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "TMPDIR": str(self.folder)}
        shell = await asyncio.create_subprocess_exec(
            "sh", "-c", command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT, cwd=self.disk,
            env=environment, start_new_session=True,
        )  # fmt: skip
        assert shell.stdin is not None
        assert shell.stdout is not None
        feeding = asyncio.create_task(_feed(process, shell.stdin))
        try:
            await self._answer(process, shell.stdout)
            status = await shell.wait()
        finally:
            feeding.cancel()
            await end(shell)
            await asyncio.gather(feeding, return_exceptions=True)
        if self.mute:
            process.close()
        elif status < 0:
            process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
        else:
            process.exit(status)

    async def _answer(self, process: asyncssh.SSHServerProcess[bytes], output: asyncio.StreamReader) -> None:
        sent = 0
        while chunk := await output.read(1 << 16):
            process.stdout.write(chunk)
            sent += len(chunk)
            if self.cut_after is not None and sent >= self.cut_after:
                self.connections[-1].abort()
                return
            await process.stdout.drain()


async def _feed(process: asyncssh.SSHServerProcess[bytes], stdin: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncssh.Error):
        while chunk := await process.stdin.read(1 << 16):
            stdin.write(chunk)
            await stdin.drain()
    stdin.close()


class _Door(asyncssh.SSHServer):
    def __init__(self, sshd: Sshd) -> None:
        self._sshd = sshd

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._sshd.connections.append(conn)
        if self._sshd.drops > 0:
            self._sshd.drops -= 1
            conn.abort()

    def session_requested(self) -> tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]]:
        if self._sshd.full > 0:
            self._sshd.full -= 1
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "open failed")
        session = asyncssh.SSHServerProcess[bytes](self._sshd.serve, None, 3, allow_scp=False)
        return self._connection.create_server_channel(encoding=None), session

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:  # noqa: ARG002
        return self._sshd.forwards

    def unix_connection_requested(self, dest_path: str) -> bool:  # noqa: ARG002
        return True


@asynccontextmanager
async def running(folder: Path, address: str = "127.0.0.1", authority: str = "") -> AsyncIterator[Sshd]:
    """Run a server on the loopback, with its own host key and one client's key; an authority signs further ones."""
    sshd = Sshd(folder, address)
    sshd.disk.mkdir()
    (folder / "bin").mkdir()
    (folder / "bin" / "sudo").write_text('#!/bin/sh\n[ "$1" = -n ] && shift && exec "$@"\n')
    (folder / "bin" / "sudo").chmod(0o755)
    for name in ("id_client", "id_host", "id_stranger"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(folder / name)
        key.write_public_key((folder / name).with_suffix(".pub"))
    (folder / "authorized_keys").write_text((folder / "id_client.pub").read_text() + authority)
    listener = await asyncssh.listen(
        address,
        0,
        server_factory=lambda: _Door(sshd),
        server_host_keys=[str(folder / "id_host")],
        authorized_client_keys=str(folder / "authorized_keys"),
    )
    sshd.port = listener.get_port()
    sshd.know(folder / "id_host")
    try:
        yield sshd
    finally:
        listener.close()
        for connection in sshd.connections:
            connection.abort()
        await listener.wait_closed()
        serving = [task for task in sshd.serving if task is not None]
        if serving:
            _, left = await asyncio.wait(serving, timeout=5)
            assert not left, "every shell ends soon after its connection"
