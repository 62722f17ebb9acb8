"""States that tests of one file open and close: at a fixed time, in a folder of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.state.sql.store import SqlStore, open_store
from reconciler.state.store import Holder
from tests.fresh import make_state

ANNA = Holder("anna", "ctl1", os.getpid())


def now() -> datetime:
    return datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


@contextmanager
def opened(where: str | Path, cluster: str = "lab", *, read_only: bool = False) -> Iterator[SqlStore]:
    store = open_store(where, cluster=cluster, clock=now, read_only=read_only)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Make a state in which somebody once held a lock, and return its file."""
    place = tmp_path / "state" / "lab.db"
    make_state(place, "lab")
    with opened(place) as store, store.lock(["alice/lab1"], ANNA):
        pass
    return place
