"""A wire with faults before each host's sshd: a TCP proxy that delays, stalls, throttles, cuts, and falls silent.

It knows bytes and connections, not SSH; what the product must make of its faults is the tests'.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Final, Self, TypeVar

from ruamel.yaml import YAML

from tests.lab.site import Site

_SEGMENT: Final = 16 * 1024  # bytes read at once
_IN_FLIGHT: Final = 64  # segments under way in one direction
_CLONE_NEWNET: Final = 0x40000000
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER that makes close() send RST

_T = TypeVar("_T")


@dataclass
class Faults:
    """What a wire does to all that passes; it may be changed at any time.

    `delay` is in seconds for each way; of a segment out of `1 / stall_chance`, the next leave `stall` seconds later.
    Through a connection go `rate` bytes a second each way, as many as come where it is 0; a megabyte waits before it,
    as in a router with long queues. A `silent` wire takes everything and passes nothing on.
    """

    delay: float = 0.0
    stall_chance: float = 0.0
    stall: float = 0.3
    rate: int = 0
    silent: bool = False


@dataclass
class Seen:
    """What was seen: connections, bytes for and from the host, how often the client spoke after the host."""

    connections: int = 0
    to_host: int = 0
    from_host: int = 0
    turns: int = 0


@dataclass(eq=False)
class _Link:
    """One connection: its two sockets, and who spoke last."""

    client: socket.socket
    host: socket.socket
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    host_spoke: bool = False


class Wire:
    """Stands before one port; its methods are called from the test's thread and done once they return."""

    def __init__(self, loop: asyncio.AbstractEventLoop, dial: Callable[[], socket.socket], seed: int) -> None:
        self.faults = Faults()
        self.seen = Seen()
        self._loop = loop
        self._dial = dial
        self._random = Random(seed)  # noqa: S311 - stalls, and the same ones each time
        self._links: set[_Link] = set()
        self._limit: int | None = None
        self._unwanted = 0
        self._accepting: asyncio.Task[None] | None = None
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self.admit()

    def cut(self) -> None:
        """Reset every connection, towards both sides."""
        self._do(self._cut())

    def cut_after(self, to_host: int) -> None:
        """Reset every connection once so many more bytes have gone to the host; this happens once."""
        self._limit = self.seen.to_host + to_host

    def turn_away(self, connections: int) -> None:
        """Reset the next so many connections before a word is said."""
        self._unwanted = connections

    def refuse(self) -> None:
        """Refuse new connections; those that stand go on."""
        self._do(self._refuse())

    def admit(self) -> None:
        """Accept connections."""
        self._do(self._admit())

    def close(self) -> None:
        """End everything."""
        self.refuse()
        self.cut()

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    @staticmethod
    def _listen(port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.settimeout(0)
        return listener

    async def _admit(self) -> None:
        if self._listener.fileno() < 0:
            self._listener = self._listen(self.port)
        self._listener.listen()
        self._accepting = asyncio.create_task(self._accept())

    async def _refuse(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        self._listener.close()

    async def _accept(self) -> None:
        while True:
            client, _ = await self._loop.sock_accept(self._listener)
            self.seen.connections += 1
            if self._unwanted > 0:
                self._unwanted -= 1
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
                continue
            try:
                host = await asyncio.to_thread(self._dial)
            except OSError:
                client.close()
                continue
            link = _Link(client, host)
            for each in (client, host):
                each.settimeout(0)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._links.add(link)
            for to_host in (True, False):
                queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)
                link.tasks.add(asyncio.create_task(self._take(link, queue, to_host=to_host)))
                link.tasks.add(asyncio.create_task(self._give(link, queue, to_host=to_host)))

    async def _take(self, link: _Link, queue: asyncio.Queue[tuple[float, bytes]], *, to_host: bool) -> None:
        """Read what one side says, and settle when it leaves."""
        source = link.client if to_host else link.host
        held_until = 0.0
        content = b"."
        while content:
            try:
                content = await self._loop.sock_recv(source, _SEGMENT)
            except OSError:
                self._drop(link)
                return
            if content:
                self._count(link, len(content), to_host=to_host)
            now = self._loop.time()
            if self._random.random() < self.faults.stall_chance:
                held_until = max(held_until, now) + self.faults.stall
            await queue.put((max(now + self.faults.delay, held_until), content))
            if self._limit is not None and self.seen.to_host >= self._limit:
                self._limit = None
                await self._cut()

    async def _give(self, link: _Link, queue: asyncio.Queue[tuple[float, bytes]], *, to_host: bool) -> None:
        """Pass it on to the other side when its time has come; an empty segment is the end."""
        sink = link.host if to_host else link.client
        content = b"."
        while content:
            due, content = await queue.get()
            await asyncio.sleep(max(due - self._loop.time(), 0.0))
            while self.faults.silent:  # noqa: ASYNC110 - the test's thread sets it, and cannot set an Event of this loop
                await asyncio.sleep(0.05)
            with suppress(OSError):  # the reading side of that socket finds out what happened
                await self._pass(sink, content)
                if not content:
                    sink.shutdown(socket.SHUT_WR)
        link.tasks.discard(asyncio.current_task())
        if len(link.tasks) <= 2:  # both readers have ended before their writers
            self._drop(link)

    async def _pass(self, sink: socket.socket, content: bytes) -> None:
        """Send a segment, a twentieth of a second's worth at a time where that is limited."""
        while content:
            rate = self.faults.rate
            piece = content[: rate // 20] if rate else content
            await self._loop.sock_sendall(sink, piece)
            content = content[len(piece) :]
            if rate:
                await asyncio.sleep(len(piece) / rate)

    def _count(self, link: _Link, size: int, *, to_host: bool) -> None:
        if to_host:
            self.seen.to_host += size
            self.seen.turns += link.host_spoke
        else:
            self.seen.from_host += size
        link.host_spoke = not to_host

    async def _cut(self) -> None:
        for link in list(self._links):
            self._drop(link)

    def _drop(self, link: _Link) -> None:
        self._links.discard(link)
        for task in link.tasks - {asyncio.current_task()}:
            task.cancel()
        for each in (link.client, link.host):
            with suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            each.close()


@dataclass(frozen=True)
class Wired(Site):
    """A site whose every host is reached by a wire."""

    wires: Mapping[str, Wire]

    @classmethod
    @contextmanager
    def around(cls, site: Site, dials: Mapping[str, Callable[[], socket.socket]] | None = None) -> Iterator[Self]:
        """Put wires before all hosts of a site; `dials` reaches some of them another way than by their port."""
        cluster = YAML(typ="safe").load(site.cluster)
        known = Path(cluster["ssh"]["known_hosts"]).read_text()
        with ExitStack() as stack:
            loop = stack.enter_context(_running_loop())
            wires = {}
            for seed, host in enumerate([*cluster["workers"], cluster["network_node"]]):
                port = host["ssh"]["port"]
                dial = (dials or {}).get(host["name"]) or _dialler(port)
                wire = wires[host["name"]] = Wire(loop, dial, seed)
                stack.callback(wire.close)
                known = known.replace(f"[127.0.0.1]:{port} ", f"[127.0.0.1]:{wire.port} ")
                host["ssh"]["port"] = wire.port
            cluster["ssh"]["known_hosts"] = str(site.folder / "wired-known-hosts")
            (site.folder / "wired-known-hosts").write_text(known)
            with (site.folder / "wired.yaml").open("w") as stream:
                YAML().dump(cluster, stream)
            yield cls(site.lab, site.folder, site.folder / "wired.yaml", wires, guests=site.guests)

    def worsen(self, **faults: Any) -> None:
        """Set the faults of every wire."""
        for wire in self.wires.values():
            wire.faults = replace(Faults(), **faults)

    @property
    def turns(self) -> int:
        """How often the client has spoken after a host, on all wires."""
        return sum(wire.seen.turns for wire in self.wires.values())


def _dialler(port: int) -> Callable[[], socket.socket]:
    return lambda: socket.create_connection(("127.0.0.1", port))


def dialler_within(pid: int, port: int) -> Callable[[], socket.socket]:
    """Return what connects to a port of the loopback in the network namespace of a process."""

    def connect() -> socket.socket:
        # A thread of its own changes over: others would go on in that namespace.
        made: list[socket.socket] = []
        thread = threading.Thread(target=lambda: made.append(_socket_within(pid)))
        thread.start()
        thread.join()
        try:
            made[0].connect(("127.0.0.1", port))
        except OSError:
            made[0].close()
            raise
        return made[0]

    return connect


def _socket_within(pid: int) -> socket.socket:
    """Make a socket in another network namespace, where it stays; the calling thread stays there too."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(namespace)
    return socket.socket()


@contextmanager
def _running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="wires")
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_rest(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _rest() -> None:
    """Let every task that was cancelled end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
