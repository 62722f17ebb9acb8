"""Makes new states quickly: copies of one that is created once in each process, with a lineage of their own.

Creating a state runs every migration, and tests of what a state does need that no more than once. The tests in
tests/state/test_opening.py are about creation itself.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from reconciler.state.sql.store import open_store


def make_state(file: Path, cluster: str) -> None:
    """Make an empty state, unless there is one."""
    if file.exists():
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_bytes(_empty_state())
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE meta SET lineage = ?, cluster = ?", (str(uuid4()), cluster))


@cache
def _empty_state() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "empty.db"
        open_store(file, cluster="empty", clock=lambda: datetime.now(UTC)).close()
        return file.read_bytes()
