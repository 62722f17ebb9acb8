"""Hosts without SSH: each is a folder of this machine and a real shell; they can be unplugged, and cut in mid-batch."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from reconciler.apply.transport.batch import Batch, BatchEvents
from reconciler.apply.transport.connection import Progress, Source, Stream
from reconciler.apply.transport.shell import run_in_shell
from reconciler.errors import HostError, HostUnreachable
from reconciler.plan.resources import ROOT
from reconciler.spec.models.names import HostName


@dataclass
class Sent:
    """One batch that a host got; whether it was a probe shows in the lock it asks for."""

    host: HostName
    batch: Batch

    @property
    def probe(self) -> bool:
        return self.batch.lock.shared


@dataclass
class Localhosts:
    """A connector to folders.

    `down` hosts refuse. `cuts` holds, for each host's next batches, after how many results the connection dies (None:
    it does not), while the shell there goes on as it would behind a dead connection.
    """

    root: Path
    down: set[HostName] = field(default_factory=set)
    cuts: dict[HostName, list[int | None]] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    at_work: int = 0
    peak: int = 0
    shells: list[asyncio.subprocess.Process] = field(default_factory=list)

    def folder(self, host: HostName) -> Path:
        folder = self.root / host
        folder.mkdir(exist_ok=True)
        return folder

    def batches(self, host: HostName) -> list[Sent]:
        return [sent for sent in self.sent if sent.host == host and not sent.probe]

    def probes(self, host: HostName) -> list[Sent]:
        return [sent for sent in self.sent if sent.host == host and sent.probe]

    async def connect(self, host: HostName) -> Localhost:
        if host in self.down:
            raise HostUnreachable(host, "it refuses connections")
        return Localhost(host, self)

    async def close(self) -> None:
        for shell in self.shells:
            await end(shell)


async def end(shell: asyncio.subprocess.Process) -> None:
    """End a shell that leads a session of its own with all that it started, and its pipes with it."""
    with suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGKILL)
    transport: asyncio.SubprocessTransport = shell._transport  # type: ignore[attr-defined]
    transport.close()  # a pipe that nobody reads would keep wait() waiting
    await shell.wait()


@dataclass
class Localhost:
    """One folder, connected."""

    host: HostName
    hosts: Localhosts

    def run(self, batch: Batch) -> BatchEvents:
        self.hosts.sent.append(Sent(self.host, batch))
        return run_in_shell(self, batch)

    async def run_script(self, text: str) -> AsyncGenerator[str, None]:
        own = self.hosts.folder(self.host)
        cuts = self.hosts.cuts.get(self.host, [])
        results_left = cuts.pop(0) if cuts else None
        self.hosts.at_work += 1
        self.hosts.peak = max(self.hosts.peak, self.hosts.at_work)
        try:
            async for line in self._shell(text.replace(ROOT, str(own / "root"))):
                yield line
                if results_left is not None and " result " in line:
                    results_left -= 1
                if results_left == 0:
                    raise HostUnreachable(self.host, "the connection was lost")
        finally:
            self.hosts.at_work -= 1

    async def _shell(self, text: str) -> AsyncGenerator[str, None]:
        pipe, stdout = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
        shell = await asyncio.create_subprocess_exec(
            "sh", "-s", stdin=pipe, stdout=pipe, stderr=stdout, limit=1 << 24, start_new_session=True,
            env=os.environ | {"TMPDIR": str(self.hosts.root)},
        )  # fmt: skip
        self.hosts.shells.append(shell)
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write(text.encode(errors="surrogateescape"))
        shell.stdin.close()
        last = ""
        while line := await shell.stdout.readline():
            last = line.decode(errors="surrogateescape").removesuffix("\n")
            yield last
        status = await shell.wait()
        if status == -signal.SIGKILL:
            raise HostUnreachable(self.host, "the connection was lost")
        if status != 0:
            raise HostError(self.host, last)

    async def put(self, source: Source, path: str, progress: Progress | None = None, *, private: bool = False) -> None:
        partial = Path(f"{path}.partial")
        if private:
            partial.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            content = await _content(source)
            mode = 0o600 if private else 0o644
            descriptor = await asyncio.to_thread(os.open, partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        except FileNotFoundError as error:
            raise HostError(self.host, f"{path}: no such folder") from error
        size = partial.stat().st_size  # noqa: ASYNC240 - a test's file
        if progress is not None:
            progress(size, size)
        partial.replace(path)  # noqa: ASYNC240 - a test's file

    @asynccontextmanager
    async def get(self, path: str) -> AsyncIterator[Stream]:
        async def pieces() -> AsyncIterator[bytes]:
            yield content

        try:
            content = await asyncio.to_thread(Path(path).read_bytes)
        except FileNotFoundError as error:
            raise HostError(self.host, f"there is no file {path}") from error
        yield Stream(len(content), pieces())

    @asynccontextmanager
    async def forward(self, path: str) -> AsyncIterator[Path]:
        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            name, _, port = path.rpartition(":")
            to = asyncio.open_connection("127.0.0.1", int(port)) if name else asyncio.open_unix_connection(path)
            far_reader, far_writer = await to
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))

        with TemporaryDirectory() as folder:
            local = Path(folder) / "socket"
            async with await asyncio.start_unix_server(relay, local):
                yield local


async def _content(source: Source) -> bytes:
    if isinstance(source, Stream):
        return b"".join([piece async for piece in source.pieces])
    return source if isinstance(source, bytes) else await asyncio.to_thread(source.read_bytes)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(1 << 16):
        writer.write(chunk)
        await writer.drain()
    writer.close()
