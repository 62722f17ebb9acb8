"""A state in SQLite, in memory, that can be copied and restored: simulated clusters run on it as on the plain one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from sqlalchemy import Engine

from reconciler.plan.model import Plan, Step
from reconciler.plan.results import StepResult
from reconciler.simulation.cluster import NOW, TTL, OnPoint
from reconciler.state.sql.opening import empty_engine
from reconciler.state.sql.store import SqlStore
from reconciler.state.store import ApplyId, Holder, Verb

T = TypeVar("T")


class SqliteState(SqlStore):
    """A SqlStore whose whole database is copied and restored, and whose writes are observed."""

    def __init__(self, on_write: OnPoint) -> None:
        self._memory = empty_engine("campus")
        self._on_write = on_write
        super().__init__(self._memory, "in memory", lambda: NOW, read_only=False, ttl=TTL)

    @property
    def ttl(self) -> timedelta:
        """A lease so long that no lock is renewed: only one thread may use the connection of a database in memory."""
        return TTL

    def image(self) -> bytes:
        """Return the database as it was last committed; the same state gives the same bytes."""
        return _raw(self._memory).serialize()

    def restore(self, image: bytes) -> None:
        """Set the database back to an image."""
        _raw(self._memory).deserialize(image)

    def begin(self, plan: Plan, holder: Holder, digest: str, verb: Verb = Verb.APPLY) -> ApplyId:
        return self._observed("the start", lambda: super(SqliteState, self).begin(plan, holder, digest, verb))

    def intend(self, apply: ApplyId, steps: Sequence[Step]) -> None:
        self._observed("intents", lambda: super(SqliteState, self).intend(apply, steps))

    def record(self, apply: ApplyId, results: Sequence[StepResult]) -> None:
        self._observed("results", lambda: super(SqliteState, self).record(apply, results))

    def finish(self, apply: ApplyId, result: str, skipped: int) -> None:
        self._observed("the end", lambda: super(SqliteState, self).finish(apply, result, skipped))

    def _observed(self, what: str, write: Callable[[], T]) -> T:
        self._on_write(f"before writing {what}")
        written = write()
        self._on_write(f"after writing {what}")
        return written


def _raw(engine: Engine) -> sqlite3.Connection:
    """Return the one connection of a database in memory, which no transaction is using."""
    proxy = engine.raw_connection()
    try:
        raw = proxy.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        return raw
    finally:
        proxy.close()
