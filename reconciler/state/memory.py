"""Stores a state in memory, and copies and restores it as a whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine

from reconciler.state.locks.ttl import TTL
from reconciler.state.sql.opening import empty_engine
from reconciler.state.sql.store import SqlStore


class MemoryStore(SqlStore):
    """A state that lasts as long as the process, and otherwise behaves as one in a file."""

    def __init__(self, cluster: str, clock: Callable[[], datetime]) -> None:
        engine = empty_engine(cluster)
        super().__init__(engine, "in memory", clock, read_only=False, ttl=TTL)
        self._memory = engine

    def frozen(self) -> bytes:
        """Return the whole database as it was last committed; the same state gives the same bytes."""
        return _raw(self._memory).serialize()

    def thaw(self, image: bytes) -> None:
        """Restore what `frozen` returned, with the locks that were held."""
        _raw(self._memory).deserialize(image)


def _raw(engine: Engine) -> sqlite3.Connection:
    """Return the one connection of a database in memory, which no transaction is using."""
    proxy = engine.raw_connection()
    try:
        raw = proxy.driver_connection
        assert isinstance(raw, sqlite3.Connection), "a state in memory is in SQLite"  # noqa: S101
        return raw
    finally:
        proxy.close()
