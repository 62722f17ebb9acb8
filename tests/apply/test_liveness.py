"""A connection ends once no byte has come for ten checks, and for no other reason."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reconciler.apply.transport.liveness import CHECKS, Liveness

INTERVAL = 0.05


class Heard(asyncio.Protocol):
    """Keeps what it hears, and why it ended."""

    def __init__(self) -> None:
        self.content = b""
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.content += data

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(exc)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Heard, asyncio.StreamWriter]]:
    """Give what listens through a pulse, and what speaks to it."""
    writers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(lambda _reader, writer: writers.put_nowait(writer), "127.0.0.1", 0)
    loop, heard = asyncio.get_running_loop(), Heard()
    transport, _ = await loop.create_connection(lambda: Liveness(heard, INTERVAL), *server.sockets[0].getsockname())
    writer = await writers.get()
    try:
        yield heard, writer
    finally:
        transport.close()
        writer.close()
        await asyncio.gather(writer.wait_closed(), heard.ended, return_exceptions=True)
        server.close()


async def test_silence_ends_it_after_ten_checks() -> None:
    async with connected() as (heard, writer):
        writer.write(b"once")
        since = time.monotonic()
        assert isinstance(await heard.ended, TimeoutError)
        assert time.monotonic() - since > (CHECKS - 1) * INTERVAL
        assert heard.content == b"once"


async def test_a_byte_now_and_then_keeps_it() -> None:
    async with connected() as (heard, writer):
        for _ in range(4):
            writer.write(b".")
            await asyncio.sleep(CHECKS * INTERVAL / 2)
        assert not heard.ended.done()
        assert heard.content == b"...."


async def test_a_program_that_was_stopped_hears_first_what_has_come_meanwhile() -> None:
    async with connected() as (heard, writer):
        await asyncio.sleep(0)
        time.sleep(2 * CHECKS * INTERVAL)  # noqa: ASYNC251 - the loop stands still, as when the program is stopped
        await asyncio.sleep(INTERVAL)
        assert not heard.ended.done()
        writer.write(b"here")
        await asyncio.sleep(CHECKS * INTERVAL / 2)
        assert heard.content == b"here"
        assert not heard.ended.done()


async def test_an_end_is_passed_on() -> None:
    async with connected() as (heard, writer):
        writer.close()
        assert await heard.ended is None
