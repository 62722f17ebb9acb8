"""Tells a host that has fallen silent from one that is slow: any byte it sends is a sign of life.

Asking for such signs, and what becomes of a connection that has ended, is the part of the protocol spoken on it.
"""

from __future__ import annotations

import asyncio
from typing import Final

LOOK: Final = 1.0
LOOKS: Final = 10
"""Seconds between two looks, and after how many without a byte between them a host is given up: within ten seconds.

Looks are counted, not time: a program that was stopped for an hour finds one look overdue, not 3600.
"""


class Liveness(asyncio.Protocol):
    """Stands between a connection and the protocol spoken on it; ends both once nothing has come for so many looks."""

    def __init__(self, inner: asyncio.Protocol, look: float = LOOK) -> None:
        self._inner = inner
        self._every = look
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._quiet = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to look."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio gives a stream's protocol no other
        self._transport = transport
        self._inner.connection_made(transport)
        self._look_later()

    def data_received(self, data: bytes) -> None:
        """Pass on what came."""
        self._quiet = 0
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on the end of what comes."""
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop looking, and pass on why."""
        if self._timer is not None:
            self._timer.cancel()
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on that too much waits to be sent."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that more may be sent."""
        self._inner.resume_writing()

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every, self._look)

    def _look(self) -> None:
        self._quiet += 1
        if self._quiet < LOOKS:
            self._look_later()
        elif self._transport is not None:
            self._inner.connection_lost(TimeoutError())
            self._transport.abort()
