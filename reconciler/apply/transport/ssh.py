"""Connections over SSH; the only module that imports asyncssh, and where its errors become ours.

Host keys are always checked and nothing is read from the user's SSH configuration: the cluster file alone says how a
host is reached. What runs there, and what an answer means, is the executor's.
"""

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
from asyncssh.gss import GSSError  # type: ignore[attr-defined]  # defined there or imported, by platform
from asyncssh.misc import SoftEOFReceived

from reconciler.apply.transport.batch import Batch, BatchEvents
from reconciler.apply.transport.connection import Progress, Source
from reconciler.apply.transport.liveness import Liveness
from reconciler.apply.transport.rootshell import FORWARD, PUT, READY, SHELL
from reconciler.apply.transport.shell import run_in_shell
from reconciler.errors import HostError, HostKeyRejected, HostUnreachable, LoginRejected
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import HostName

SESSIONS: Final = 6
"""Sessions open at once on one host; sshd's MaxSessions defaults to 10."""

RELAYS: Final = 3
"""Sockets of one host reached at once through sessions of their own, which never keep a batch waiting."""

CONNECTS: Final = 8
"""Connections being opened at once; sshd's MaxStartups (10:30:100) starts to drop them at ten."""

KEEPALIVE: Final = 2.5
"""Seconds of silence after which a host is asked for a sign of life; whether one comes is watched by pulse.py.

asyncssh would count answers alone, and those wait behind all that is being sent: on a narrow link, for minutes. sshd
also says each time that it has taken 96 KiB (three packets, channels.c), so an upload may fill a link of 10 KB/s.
"""

_UNCOUNTED: Final = 2**31

LINE_CAP: Final = 16 * 1024 * 1024
TOTAL_CAP: Final = 64 * 1024 * 1024
"""What one run may print, in bytes, in one line and in all: far above any batch, far below what would hurt us."""

_CHUNK: Final = 256 * 1024
_STRAY_LINES: Final = 20  # enough for what a shell says when it cannot start

_STRAY_BYTES: Final = 64 * 1024

FOREIGN: Final = (
    asyncssh.Error,
    asyncssh.ChannelListenError,
    asyncssh.BreakReceived,
    asyncssh.SignalReceived,
    asyncssh.TerminalSizeChanged,
    asyncssh.PasswordChangeRequired,
    GSSError,
    SoftEOFReceived,
    ValueError,  # what is wrong with a key, a file or a packet
    OSError,
)
"""Everything that asyncssh and the sockets below it raise; a test holds it against asyncssh's own list."""


@dataclass(frozen=True, slots=True)
class Target:
    """How a host is reached, all defaults filled in; `identity` is None where an agent or the user's own keys serve."""

    name: HostName
    address: str
    port: int
    user: str | None
    identity: Path | None
    known_hosts: Path
    sudo: bool


@dataclass(frozen=True, slots=True)
class SshTimeouts:
    """How often and how long to come back to a busy sshd: `attempts` in all, waits in seconds, doubling.

    Each wait is drawn between half of it and all of it, so that those who were refused together do not return together.
    """

    attempts: int = 7
    first: float = 0.1
    longest: float = 2.0
    connect: float = 10.0

    def waits(self, random: Random) -> Iterator[float]:
        """Yield the wait before each further attempt."""
        for attempt in range(self.attempts - 1):
            yield min(self.first * 2**attempt, self.longest) * random.uniform(0.5, 1.0)


def target(cluster: Cluster, name: HostName) -> Target:
    """Fill in how a host is reached: its own settings, then the cluster's, then the defaults; KeyError if unknown."""
    host = cluster.host(name)
    settings = {
        item: own if (own := getattr(host.ssh, item)) is not None else getattr(cluster.ssh, item)
        for item in type(host.ssh).model_fields
    }
    identity, known_hosts = settings["identity_file"], settings["known_hosts"]
    return Target(
        name=name,
        address=settings["host"] or str(host.address),
        port=settings["port"] or 22,
        user=settings["user"],
        identity=Path(identity).expanduser() if identity else None,
        known_hosts=Path(known_hosts or "~/.ssh/known_hosts").expanduser(),
        sudo=bool(settings["sudo"]),
    )


class SshConnector:
    """Opens one connection for each host and keeps it; a lost one is opened again when it is next asked for."""

    def __init__(self, cluster: Cluster, *, patience: SshTimeouts | None = None, random: Random | None = None) -> None:
        self._cluster = cluster
        self._patience = patience or SshTimeouts()
        self._random = random or Random()  # noqa: S311 - spreads retries, keeps no secret
        self._open: dict[HostName, SshConnection] = {}
        self._locks: dict[HostName, asyncio.Lock] = {}
        self._connects = asyncio.Semaphore(CONNECTS)

    async def connect(self, host: HostName) -> SshConnection:
        """Return the host's connection; raises HostUnreachable, HostKeyRejected or LoginRejected."""
        async with self._locks.setdefault(host, asyncio.Lock()):
            found = self._open.get(host)
            if found is None or found.lost:
                found = await self._dial(target(self._cluster, host))
                self._open[host] = found
            return found

    async def close(self) -> None:
        """End every connection."""
        for connection in self._open.values():
            await connection.close()
        self._open.clear()

    async def _dial(self, where: Target) -> SshConnection:
        """Connect, and come back while sshd is busy: it drops or refuses connections past MaxStartups."""
        options = _options(where, self._patience.connect)
        waits = self._patience.waits(self._random)
        while True:
            try:
                async with self._connects:
                    with translated(where):
                        opened = await asyncssh.connect(
                            where.address, where.port, tunnel=_Watched(), config=None, options=options
                        )
                        return SshConnection(where, opened, self._patience, self._random)
            except HostUnreachable as error:
                wait = next(waits, None)
                if wait is None or not _busy(error.__cause__):
                    raise
            await asyncio.sleep(wait)


def _busy(error: BaseException | None) -> bool:
    """Whether coming back later may help: the other side answered, and turned us away."""
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return False
    turned_away = ConnectionRefusedError | ConnectionResetError | BrokenPipeError
    return isinstance(error, turned_away | asyncssh.DisconnectError | asyncssh.ChannelOpenError)


def _options(where: Target, patience: float) -> asyncssh.SSHClientConnectionOptions:
    """Gather asyncssh's options; raises HostKeyRejected or LoginRejected where a file they need is missing or bad."""
    keys: dict[str, object] = {}
    if where.identity is not None:
        keys = {"client_keys": [_client_key(where)], "agent_path": None}
    if where.user is not None:
        keys["username"] = where.user
    with translated(where):
        return asyncssh.SSHClientConnectionOptions(
            config=None,
            known_hosts=_known_hosts(where),
            preferred_auth="publickey",
            gss_host=None,
            connect_timeout=patience,
            login_timeout=patience,
            keepalive_interval=KEEPALIVE,
            keepalive_count_max=_UNCOUNTED,
            compression_algs=None,
            **keys,
        )


class _Watched:
    """Connects as asyncssh would, with a pulse taken; asyncssh calls a tunnel whatever brings its bytes."""

    async def create_connection(
        self, session_factory: Callable[[], Any], remote_host: str, remote_port: int
    ) -> tuple[Any, Any]:
        """Return the transport, and the protocol that asyncssh made for it."""
        spoken = session_factory()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: Liveness(spoken), remote_host, remote_port)
        return transport, spoken


def _client_key(where: Target) -> asyncssh.SSHKeyPair:
    try:
        return asyncssh.load_keypairs([str(where.identity)])[0]
    except FileNotFoundError:
        raise LoginRejected(
            where.name, f"there is no key {where.identity}", hint="set ssh.identity_file in the cluster file"
        ) from None
    except (OSError, ValueError) as error:
        raise LoginRejected(
            where.name,
            f"the key {where.identity} cannot be used: {error}",
            hint="for a key with a passphrase, leave out ssh.identity_file and load the key into an agent",
        ) from error


def _known_hosts(where: Target) -> asyncssh.SSHKnownHosts:
    try:
        return asyncssh.read_known_hosts(str(where.known_hosts))
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        raise HostKeyRejected(
            where.name, f"the known hosts in {where.known_hosts} cannot be read: {words}", hint=_advice(where)
        ) from error


def _advice(where: Target) -> str:
    scan = f"ssh-keyscan -p {where.port} {where.address}"
    return f"fetch the key with `{scan}`, compare it with the one on the host's own console, then add it to the file"


@contextmanager
def translated(where: Target) -> Iterator[None]:
    """Turn what asyncssh raises inside into the error that the user should see."""
    try:
        yield
    except FOREIGN as error:
        raise host_error(where, error) from error


def host_error(where: Target, error: BaseException) -> HostError:
    """Return our error for one of asyncssh's or a socket's."""
    match error:
        case asyncssh.HostKeyNotVerifiable():
            return _key_error(where)
        case asyncssh.KeyExchangeFailed() if "host key" in str(error):
            return _key_error(where)
        case (
            asyncssh.PermissionDenied()
            | asyncssh.IllegalUserName()
            | asyncssh.PasswordChangeRequired()
            | asyncssh.KeyEncryptionError()
            | asyncssh.KeyImportError()
        ):
            user = f" as {where.user}" if where.user else ""
            return LoginRejected(where.name, f"login{user} was rejected: {_said(error)}", hint=_login_hint(where))
        case _:
            return HostUnreachable(where.name, _no_connection(where, error))


def _no_connection(where: Target, error: BaseException) -> str:
    match error:
        case ConnectionRefusedError():
            return f"{where.address} refuses connections on port {where.port}"
        case TimeoutError():
            return f"{where.address} port {where.port} did not answer in time"
        case asyncssh.ChannelOpenError():
            return f"no session could be opened: {_said(error)}"
        case _:
            return f"{where.address} port {where.port}: {_said(error)}"


def _said(error: BaseException) -> str:
    """Return an error's own words, or what it is called where it has none."""
    return getattr(error, "reason", None) or str(error) or type(error).__name__


def _login_hint(where: Target) -> str:
    key = f"{where.identity}.pub" if where.identity else "your public key"
    return f"add {key} to ~/.ssh/authorized_keys of the host, or set ssh.user and ssh.identity_file"


def _sudo_hint(where: Target, words: str) -> str | None:
    """Say what lets the login user work as root, where it was sudo, or the lack of it, that had the last word."""
    last = words.rpartition("\n")[2]
    if "sudo: " not in last:
        return None
    if "not found" in last:
        return "install sudo there, or log in as root and set ssh.sudo: false in the cluster file"
    allowed = f"{where.user or 'USER'} ALL=(root) NOPASSWD: {' '.join(SHELL)}"
    return f"put the list from docs/security.md into /etc/sudoers.d there; it begins with `{allowed}`"


def _key_error(where: Target) -> HostKeyRejected:
    """Tell a host key that nobody vouched for from one that has changed: the second may be an attack."""
    port = where.port if where.port != asyncssh.DEFAULT_PORT else None
    known = asyncssh.match_known_hosts(str(where.known_hosts), where.address, "", port)
    if not any(known):
        return HostKeyRejected(
            where.name, f"its host key is not in {where.known_hosts}, so nothing was sent", hint=_advice(where)
        )
    return HostKeyRejected(
        where.name,
        f"its host key is not the one in {where.known_hosts}, so nothing was sent",
        hint="someone may stand in between; if the host was set up anew, check its key there and replace the old one",
    )


class SshConnection:
    """One host over one SSH connection; see the Connection protocol."""

    def __init__(
        self, where: Target, opened: asyncssh.SSHClientConnection, patience: SshTimeouts, random: Random
    ) -> None:
        self._where = where
        self._opened = opened
        self._patience = patience
        self._random = random
        self._sessions = asyncio.Semaphore(SESSIONS)
        self._relays = asyncio.Semaphore(RELAYS)

    @property
    def host(self) -> HostName:
        """The host's name in the cluster file."""
        return self._where.name

    @property
    def lost(self) -> bool:
        """Whether the connection is known to be gone."""
        return self._opened.is_closed()

    async def close(self) -> None:
        """End the connection."""
        self._opened.close()
        await self._opened.wait_closed()

    def run(self, batch: Batch) -> BatchEvents:
        """Run a batch in a root shell, and yield its events."""
        return run_in_shell(self, batch)

    async def run_script(self, text: str) -> AsyncGenerator[str, None]:
        """Feed a shell script to a root shell and yield its output, both streams, line by line.

        Bytes that are not UTF-8 come as lone surrogates. Raises HostUnreachable when the connection is lost, HostError
        when the shell ended with another status than 0 or printed beyond all measure.
        """
        async with AsyncExitStack() as stack:
            process = await self._session(stack, SHELL, self._sessions)
            lines = _Lines()
            with translated(self._where):
                feeding = asyncio.create_task(_feed(process, text.encode(errors="surrogateescape")))
                stack.push_async_callback(_ended, feeding)
                while chunk := await process.stdout.read(_CHUNK):
                    for line in lines.cut(chunk):
                        yield line
                    if lines.excess:
                        raise HostError(self.host, f"it printed more than {lines.excess} bytes; its batch was ended")
                for line in lines.end():
                    yield line
                await process.wait_closed()
            self._check(process, lines.last)

    async def put(self, source: Source, path: str, progress: Progress | None = None, *, private: bool = False) -> None:
        """Copy a local file to the host, atomically; `progress` is told bytes sent and bytes in all.

        With `private` none but root can ever read it there: mktemp(1) makes its files so. Raises OSError where the
        local file cannot be read, HostError where the host cannot take it.
        """
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as content:
            size = content.seek(0, os.SEEK_END)
            content.seek(0)
            async with AsyncExitStack() as stack:
                words = ("put", path, str(size), *(["0600"] if private else []))
                process, _ = await self._job(stack, PUT, words, self._sessions)
                with translated(self._where):
                    answer = asyncio.create_task(process.stdout.read())
                    stack.push_async_callback(_ended, answer)
                    await _upload(process, (content, size), answer, progress)
                    said = await answer
                    await process.wait_closed()
                self._check(process, _text(said).splitlines())

    @asynccontextmanager
    async def forward(self, path: str) -> AsyncIterator[Path]:
        """Make a socket of the host reachable as a local socket in a folder that only we may enter.

        Where we are root by sudo, root opens the socket there; else the login user must be allowed to.
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
        """Carry one local connection to a socket of the host; it ends where nothing answers, as SSH's own do."""
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
        """Start a script as root that is fed more than itself; return it once it is ready, with what it said since.

        Raises HostError with the script's words where it ended instead.
        """
        process = await self._session(stack, (*SHELL, *arguments), sessions)
        heard = b""
        with translated(self._where):
            process.stdin.write(script.encode())
            while READY.encode() not in heard:
                chunk = await process.stdout.read(_CHUNK)
                heard += chunk
                if not chunk or len(heard) > _STRAY_BYTES:
                    break
            else:
                return process, heard.partition(READY.encode())[2]
            if not chunk:
                await process.wait_closed()
                self._check(process, _text(heard).splitlines())
        raise HostError(self.host, f"`{arguments[0]}` did not begin there: {_text(heard[:200])}")

    async def _session(
        self, stack: AsyncExitStack, argv: tuple[str, ...], sessions: asyncio.Semaphore
    ) -> asyncssh.SSHClientProcess[bytes]:
        """Start a command as root; ends with the stack. Comes back while sshd has no session left."""
        await stack.enter_async_context(sessions)
        line = shlex.join(("sudo", "-n", *argv) if self._where.sudo else argv)
        for wait in (*self._patience.waits(self._random), None):
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

    def _check(self, process: asyncssh.SSHClientProcess[bytes], said: list[str]) -> None:
        """Raise unless the command ended with status 0; no status at all means that the connection died under it."""
        if process.exit_status is None:
            raise HostUnreachable(self.host, "the connection was lost")
        if process.exit_signal is not None:
            raise HostError(self.host, f"the shell was ended by signal {process.exit_signal[0]}")
        if process.exit_status != 0:
            words = "\n".join(said[-_STRAY_LINES:]).strip()
            hint = _sudo_hint(self._where, words) if self._where.sudo else None
            raise HostError(self.host, words or f"the shell ended with status {process.exit_status}", hint=hint)


async def _feed(process: asyncssh.SSHClientProcess[bytes], text: bytes) -> None:
    """Send a script and close the shell's input; where that fails, the reading side finds out what happened."""
    with suppress(OSError, asyncssh.Error):
        process.stdin.write(text)
        await process.stdin.drain()
        process.stdin.write_eof()


async def _upload(
    process: asyncssh.SSHClientProcess[bytes],
    whole: tuple[BinaryIO, int],
    answer: asyncio.Task[bytes],
    progress: Progress | None,
) -> None:
    """Send a file of a known size and close the command's input; ends early once the command has answered."""
    content, size = whole
    sent = 0
    while not answer.done() and (chunk := await asyncio.to_thread(content.read, _CHUNK)):
        with suppress(OSError, asyncssh.Error):
            process.stdin.write(chunk)
            await process.stdin.drain()
        sent += len(chunk)
        if progress is not None:
            progress(sent, size)
    with suppress(OSError, asyncssh.Error):
        process.stdin.write_eof()


async def _send(reader: asyncio.StreamReader, process: asyncssh.SSHClientProcess[bytes]) -> None:
    """Pass on what a local program sends, and its end."""
    with suppress(OSError, asyncssh.Error):
        while chunk := await reader.read(_CHUNK):
            process.stdin.write(chunk)
            await process.stdin.drain()
        process.stdin.write_eof()


async def _ended(task: asyncio.Task[object]) -> None:
    """Wait for a task that is done or no longer wanted."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class _Lines:
    """Cuts a stream of bytes into lines, within bounds; `excess` is the bound that was passed, or None."""

    def __init__(self) -> None:
        self.last: list[str] = []
        self.excess: int | None = None
        self._rest: list[bytes] = []
        self._waiting = self._total = 0

    def cut(self, chunk: bytes) -> list[str]:
        """Return the lines that are whole now."""
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
        """Return the last line where no newline ended it."""
        return self.cut(b"\n") if self._waiting else []


def _text(line: bytes) -> str:
    return line.decode(errors="surrogateescape")
