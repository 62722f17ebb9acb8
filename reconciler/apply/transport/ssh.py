"""Opens and uses SSH connections; logins.py says who logs in where, and no other module imports asyncssh."""

from __future__ import annotations

import asyncio
import io
import os
import shlex
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, BinaryIO, Final

import asyncssh
from asyncssh.constants import OPEN_ADMINISTRATIVELY_PROHIBITED

from reconciler.apply.transport.batch import Batch, BatchEvents
from reconciler.apply.transport.connection import Progress, Source, Stream
from reconciler.apply.transport.liveness import Liveness, LiveSession
from reconciler.apply.transport.logins import login_options, no_way, translated
from reconciler.apply.transport.rootshell import FORWARD, GET, PUT, READY, SHELL
from reconciler.apply.transport.shell import run_in_shell
from reconciler.apply.transport.targets import Target, target
from reconciler.errors import HostError, HostUnreachable
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import HostName

SESSIONS: Final = 6
"""Sessions open at once on one host; sshd's MaxSessions defaults to 10."""

RELAYS: Final = 3
"""Sockets of one host that are forwarded at once, each through a session of its own; no batch waits for them."""

CONNECTS: Final = 8
"""Connections that are opened at once; sshd's MaxStartups (10:30:100) starts to drop them at ten."""

LINE_CAP: Final = 16 * 1024 * 1024
TOTAL_CAP: Final = 64 * 1024 * 1024
"""How much one script may print, in bytes, in one line and in total: far more than any batch does."""

_CHUNK: Final = 256 * 1024
_STRAY_LINES: Final = 20  # enough for the error of a shell that cannot start

_STRAY_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class SshTimeouts:
    """How often to retry when sshd is busy: `attempts` in total, with waits in seconds that double.

    Each wait is a random part of that, at least half, so that clients that were refused together do not retry together.
    """

    attempts: int = 7
    first: float = 0.1
    longest: float = 2.0
    connect: float = 10.0

    def waits(self, random: Random) -> Iterator[float]:
        """Yield the wait before each further attempt."""
        for attempt in range(self.attempts - 1):
            yield min(self.first * 2**attempt, self.longest) * random.uniform(0.5, 1.0)


class SshConnector:
    """Opens one connection for each host and keeps it. A lost connection is opened again on the next `connect`."""

    def __init__(self, cluster: Cluster, *, timeouts: SshTimeouts | None = None, random: Random | None = None) -> None:
        self._cluster = cluster
        self._timeouts = timeouts or SshTimeouts()
        self._random = random or Random()  # noqa: S311 - spreads retries, keeps no secret
        self._open: dict[HostName, SshConnection] = {}
        self._jumps: dict[tuple[object, ...], asyncssh.SSHClientConnection] = {}
        self._locks: dict[object, asyncio.Lock] = {}
        self._connects = asyncio.Semaphore(CONNECTS)

    async def connect(self, host: HostName) -> SshConnection:
        """Return the connection to a host; raises HostUnknown, HostUnreachable, HostKeyRejected or LoginRejected."""
        async with self._locks.setdefault(host, asyncio.Lock()):
            found = self._open.get(host)
            if found is None or found.lost:
                where = await asyncio.to_thread(target, self._cluster, host)
                found = SshConnection(where, await self._dial(where), self._timeouts, self._random)
                self._open[host] = found
            return found

    async def close(self) -> None:
        """Close all connections, and after them those to jump hosts."""
        for connection in self._open.values():
            await connection.close()
        self._open.clear()
        for jump in reversed(self._jumps.values()):
            jump.close()
            await jump.wait_closed()
        self._jumps.clear()

    async def _jump(self, where: Target) -> asyncssh.SSHClientConnection:
        """Return the connection to a jump host, which all hosts behind it share."""
        async with self._locks.setdefault(where.route, asyncio.Lock()):
            found = self._jumps.get(where.route)
            if found is None or found.is_closed():
                found = await self._dial(where)
                self._jumps.pop(where.route, None)
                self._jumps[where.route] = found
            return found

    async def _dial(self, where: Target) -> asyncssh.SSHClientConnection:
        """Connect, and retry while sshd is busy: it drops or refuses connections above MaxStartups."""
        options = await asyncio.to_thread(login_options, where, self._timeouts.connect)
        waits = self._timeouts.waits(self._random)
        while True:
            tunnel = _LiveTunnel() if where.via is None else _JumpTunnel(where, await self._jump(where.via))
            try:
                async with self._connects:
                    with translated(where):
                        return await asyncssh.connect(
                            where.address, where.port, tunnel=tunnel, config=None, options=options
                        )
            except HostUnreachable as error:
                wait = next(waits, None)
                if wait is None or not _busy(error.__cause__):
                    raise
            await asyncio.sleep(wait)


def _busy(error: BaseException | None) -> bool:
    """Whether a retry may succeed: sshd was reached, and refused."""
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return False
    if isinstance(error, asyncssh.ChannelOpenError) and error.code == OPEN_ADMINISTRATIVELY_PROHIBITED:
        return False
    refused = ConnectionRefusedError | ConnectionResetError | BrokenPipeError
    return isinstance(error, refused | asyncssh.DisconnectError | asyncssh.ChannelOpenError)


class _LiveTunnel:
    """Connects as asyncssh would, but checks liveness. For asyncssh, a tunnel is anything that carries its bytes."""

    async def create_connection(
        self, session_factory: Callable[[], Any], remote_host: str, remote_port: int
    ) -> tuple[Any, Any]:
        """Return the transport, and the protocol that asyncssh made for it."""
        protocol = session_factory()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: Liveness(protocol), remote_host, remote_port)
        return transport, protocol


class _JumpTunnel:
    """Connects through a jump host, and checks liveness of the host behind it: that of the jump host says nothing."""

    def __init__(self, where: Target, jump: asyncssh.SSHClientConnection) -> None:
        self._where = where
        self._jump = jump

    async def create_connection(
        self, session_factory: Callable[[], Any], remote_host: str, remote_port: int
    ) -> tuple[Any, Any]:
        """Return the channel, and the protocol that asyncssh made for it."""
        protocol = session_factory()
        session: Any = LiveSession(protocol)
        try:
            channel, _ = await self._jump.create_connection(lambda: session, remote_host, remote_port)
        except asyncssh.ChannelOpenError as error:
            raise no_way(self._where, error) from error
        return channel, protocol


def _sudo_hint(where: Target, message: str) -> str | None:
    """Return how to let the login user work as root, if the last line of output is about sudo."""
    last = message.rpartition("\n")[2]
    if "sudo: " not in last:
        return None
    if "not found" in last:
        return "install sudo there, or log in as root and set ssh.sudo: false in the cluster file"
    allowed = f"{where.user or 'USER'} ALL=(root) NOPASSWD: {' '.join(SHELL)}"
    return f"put the list from docs/security.md into /etc/sudoers.d there; it begins with `{allowed}`"


class SshConnection:
    """A connection to one host over SSH; see the Connection protocol."""

    def __init__(
        self, where: Target, opened: asyncssh.SSHClientConnection, timeouts: SshTimeouts, random: Random
    ) -> None:
        self._where = where
        self._opened = opened
        self._timeouts = timeouts
        self._random = random
        self._sessions = asyncio.Semaphore(SESSIONS)
        self._relays = asyncio.Semaphore(RELAYS)

    @property
    def host(self) -> HostName:
        """The host's name in the cluster file."""
        return self._where.name

    @property
    def lost(self) -> bool:
        """Whether the connection is known to be lost."""
        return self._opened.is_closed()

    async def close(self) -> None:
        """Close the connection."""
        self._opened.close()
        await self._opened.wait_closed()

    def run(self, batch: Batch) -> BatchEvents:
        """Run a batch in a root shell, and yield its events."""
        return run_in_shell(self, batch)

    async def run_script(self, text: str) -> AsyncGenerator[str, None]:
        """Feed a shell script to a root shell and yield its output, both streams, line by line.

        Bytes that are not UTF-8 become lone surrogates. Raises HostUnreachable if the connection is lost, HostError if
        the shell ended with another status than 0 or printed too much.
        """
        async with AsyncExitStack() as stack:
            process = await self._session(stack, SHELL, self._sessions)
            lines = _Lines()
            with translated(self._where):
                feeding = asyncio.create_task(_feed(process, text.encode(errors="surrogateescape")))
                stack.push_async_callback(_ended, feeding)
                while chunk := await process.stdout.read(_CHUNK):
                    for line in lines.split(chunk):
                        yield line
                    if lines.excess:
                        raise HostError(self.host, f"it printed more than {lines.excess} bytes; its batch was stopped")
                for line in lines.end():
                    yield line
                await process.wait_closed()
            self._check(process, lines.last)

    async def put(self, source: Source, path: str, progress: Progress | None = None, *, private: bool = False) -> None:
        """Copy content to the host, atomically; `progress` is called with bytes sent and bytes in all.

        With `private`, only root can ever read it there: mktemp(1) creates files so. Raises OSError if the local file
        cannot be read, HostError if the host cannot store it.
        """
        with _opened(source) as content:
            async with AsyncExitStack() as stack:
                arguments = ("put", path, str(content.size), *(["0600"] if private else []))
                process, _ = await self._job(stack, PUT, arguments, self._sessions)
                with translated(self._where):
                    printed = asyncio.create_task(process.stdout.read())
                    stack.push_async_callback(_ended, printed)
                    await _upload(process, content, printed, progress)
                    output = await printed
                    await process.wait_closed()
                self._check(process, _text(output).splitlines())

    @asynccontextmanager
    async def get(self, path: str) -> AsyncIterator[Stream]:
        """Read a file of the host; its pieces are those that arrive."""
        async with AsyncExitStack() as stack:
            process, first = await self._job(stack, GET, ("get", path), self._sessions)
            with translated(self._where):
                while b"\n" not in first and (chunk := await process.stdout.read(_CHUNK)):
                    first += chunk
            size, _, first = first.partition(b"\n")
            if not size.isdigit():
                raise HostUnreachable(self.host, "the connection was lost")
            yield Stream(int(size), self._received(process, first))

    async def _received(self, process: asyncssh.SSHClientProcess[bytes], first: bytes) -> AsyncIterator[bytes]:
        """Yield what a command prints, and check how it ended."""
        if first:
            yield first
        with translated(self._where):
            while chunk := await process.stdout.read(_CHUNK):
                yield chunk
            await process.wait_closed()
        self._check(process, [])

    @asynccontextmanager
    async def forward(self, path: str) -> AsyncIterator[Path]:
        """Forward a local socket, in a folder that only this user may enter, to a socket of the host.

        With sudo, root opens the socket there; else the login user must be allowed to.
        """
        with tempfile.TemporaryDirectory(prefix="reconciler-") as folder:
            local = Path(folder) / "socket"
            async with self._relayed(local, path) if self._where.sudo else self._forwarded(local, path):
                yield local

    @asynccontextmanager
    async def _relayed(self, local: Path, path: str) -> AsyncIterator[None]:
        relays: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            relays.add(asyncio.create_task(self._relay(path, reader, writer)))

        server = await asyncio.start_unix_server(accept, local)
        try:
            yield
        finally:
            server.close()
            for relay in relays:
                await _ended(relay)

    async def _relay(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one local connection to a socket of the host; it is closed if nothing accepts it there, as in SSH."""
        with suppress(HostError, OSError):
            async with AsyncExitStack() as stack:
                stack.callback(writer.close)
                process, chunk = await self._job(stack, FORWARD, ("forward", path), self._relays)
                with translated(self._where):
                    sending = asyncio.create_task(_send(reader, process))
                    stack.push_async_callback(_ended, sending)
                    writer.write(chunk)
                    while chunk := await process.stdout.read(_CHUNK):
                        writer.write(chunk)
                        await writer.drain()

    @asynccontextmanager
    async def _forwarded(self, local: Path, path: str) -> AsyncIterator[None]:
        with translated(self._where):
            listener = await self._forward(str(local), path)
        try:
            yield
        finally:
            listener.close()
            await listener.wait_closed()

    async def _forward(self, local: str, path: str) -> asyncssh.SSHListener:
        name, _, port = path.rpartition(":")
        if name == "localhost" and port.isdecimal():
            return await self._opened.forward_local_path_to_port(local, "localhost", int(port))
        return await self._opened.forward_local_path(local, path)

    async def _job(
        self, stack: AsyncExitStack, script: str, arguments: tuple[str, ...], sessions: asyncio.Semaphore
    ) -> tuple[asyncssh.SSHClientProcess[bytes], bytes]:
        """Start a script as root that reads more input; return it once it is ready, with what it printed after that.

        Raises HostError with the script's output if it ended instead.
        """
        process = await self._session(stack, (*SHELL, *arguments), sessions)
        output = b""
        with translated(self._where):
            process.stdin.write(script.encode())
            while True:
                chunk = await process.stdout.read(_CHUNK)
                output += chunk
                if READY.encode() in output:
                    return process, output.partition(READY.encode())[2]
                if not chunk or len(output) > _STRAY_BYTES:
                    break
            if not chunk:
                await process.wait_closed()
                self._check(process, _text(output).splitlines())
        stray = output[:200].decode(errors="backslashreplace")
        raise HostError(self.host, f"`{arguments[0]}` did not start there: {stray}")

    async def _session(
        self, stack: AsyncExitStack, argv: tuple[str, ...], sessions: asyncio.Semaphore
    ) -> asyncssh.SSHClientProcess[bytes]:
        """Start a command as root, which ends with the stack. Retries while sshd has no session left."""
        await stack.enter_async_context(sessions)
        line = shlex.join(("sudo", "-n", *argv) if self._where.sudo else argv)
        for wait in (*self._timeouts.waits(self._random), None):
            try:
                with translated(self._where):
                    process: asyncssh.SSHClientProcess[bytes] = await self._opened.create_process(
                        line, stderr=asyncssh.STDOUT, encoding=None
                    )
            except HostUnreachable as error:
                if wait is None or self.lost or not _busy(error.__cause__):
                    raise
                await asyncio.sleep(wait)
            else:
                stack.callback(process.close)
                return process
        msg = "the last attempt returns or raises"
        raise AssertionError(msg)

    def _check(self, process: asyncssh.SSHClientProcess[bytes], output: list[str]) -> None:
        """Raise unless the command ended with status 0; no status means that the connection was lost."""
        if process.exit_status is None:
            raise HostUnreachable(self.host, "the connection was lost")
        if process.exit_signal is not None:
            raise HostError(self.host, f"the shell was ended by signal {process.exit_signal[0]}")
        if process.exit_status != 0:
            message = "\n".join(output[-_STRAY_LINES:]).strip()
            hint = _sudo_hint(self._where, message) if self._where.sudo else None
            raise HostError(self.host, message or f"the shell ended with status {process.exit_status}", hint=hint)


async def _feed(process: asyncssh.SSHClientProcess[bytes], text: bytes) -> None:
    """Send a script and close the shell's input; if that fails, the reading side reports why."""
    with suppress(OSError, asyncssh.Error):
        process.stdin.write(text)
        await process.stdin.drain()
        process.stdin.write_eof()


@contextmanager
def _opened(source: Source) -> Iterator[Stream]:
    """Yield the content of a source as a stream; raises OSError if a local file cannot be read."""
    if isinstance(source, Stream):
        yield source
        return
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as content:
        size = content.seek(0, os.SEEK_END)
        content.seek(0)
        yield Stream(size, _pieces(content))


async def _pieces(content: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(content.read, _CHUNK):
        yield chunk


async def _upload(
    process: asyncssh.SSHClientProcess[bytes],
    content: Stream,
    printed: asyncio.Task[bytes],
    progress: Progress | None,
) -> None:
    """Send content and close the command's input; stop early if the command has ended."""
    sent = 0
    async for chunk in content.pieces:
        with suppress(OSError, asyncssh.Error):
            process.stdin.write(chunk)
            await process.stdin.drain()
        sent += len(chunk)
        if progress is not None:
            progress(sent, content.size)
        if printed.done():
            break
    with suppress(OSError, asyncssh.Error):
        process.stdin.write_eof()


async def _send(reader: asyncio.StreamReader, process: asyncssh.SSHClientProcess[bytes]) -> None:
    """Forward what a local program sends, and its end."""
    with suppress(OSError, asyncssh.Error):
        while chunk := await reader.read(_CHUNK):
            process.stdin.write(chunk)
            await process.stdin.drain()
        process.stdin.write_eof()


async def _ended(task: asyncio.Task[object]) -> None:
    """Cancel a task unless it is done, and wait for it."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class _Lines:
    """Splits a stream of bytes into lines, within limits; `excess` is the limit that was exceeded, or None."""

    def __init__(self) -> None:
        self.last: list[str] = []
        self.excess: int | None = None
        self._rest: list[bytes] = []
        self._waiting = self._total = 0

    def split(self, chunk: bytes) -> list[str]:
        """Return the lines that are complete now."""
        first, *others = chunk.split(b"\n")
        self._total += len(chunk)
        self._rest.append(first)
        self._waiting += len(first)
        lines = []
        for other in others:
            lines.append(_text(b"".join(self._rest)))
            self._rest, self._waiting = [other], len(other)
        self.last = (self.last + lines)[-_STRAY_LINES:]
        if self._waiting > LINE_CAP:
            self.excess = LINE_CAP
        elif self._total > TOTAL_CAP:
            self.excess = TOTAL_CAP
        return lines

    def end(self) -> list[str]:
        """Return the last line, if it does not end with a newline."""
        return self.split(b"\n") if self._waiting else []


def _text(line: bytes) -> str:
    return line.decode(errors="surrogateescape")
