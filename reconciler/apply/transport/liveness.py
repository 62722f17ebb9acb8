"""Ends a connection on which no byte has come for ten seconds; any byte shows that the host is alive.

The protocol on the connection sends keepalives, so a host that is only slow is never given up.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

INTERVAL: Final = 1.0
CHECKS: Final = 10
"""Seconds between two checks, and after how many of them without a byte a connection is ended.

Checks are counted, not time: after this program was stopped for an hour, one check is overdue, not 3600.
"""


class Liveness(asyncio.Protocol):
    """A protocol between a transport and the protocol on it; ends both once nothing has come for that many checks."""

    def __init__(self, inner: asyncio.Protocol, interval: float | None = None) -> None:
        self._inner = inner
        self._interval = INTERVAL if interval is None else interval
        self._transport: Any = None  # a transport that can be aborted: asyncio's, or a channel of asyncssh
        self._timer: asyncio.TimerHandle | None = None
        self._quiet = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the checks."""
        self._transport = transport
        self._inner.connection_made(transport)
        self._check_later()

    def data_received(self, data: bytes) -> None:
        """Forward what came."""
        self._quiet = 0
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Forward the end of input."""
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the checks, and forward the reason."""
        if self._timer is not None:
            self._timer.cancel()
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Forward that too much waits to be sent."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Forward that more may be sent."""
        self._inner.resume_writing()

    def _check_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._check)

    def _check(self) -> None:
        self._quiet += 1
        if self._quiet < CHECKS:
            self._check_later()
        else:
            self._inner.connection_lost(TimeoutError())
            self._transport.abort()


class LiveSession(Liveness):
    """The same on a connection that a jump host forwards; it is what asyncssh calls a session."""

    def session_started(self) -> None:
        """Accept that the way to the host is open."""

    def data_received(self, data: bytes, datatype: int | None = None) -> None:  # noqa: ARG002 - always None here
        """Forward what came."""
        super().data_received(data)
