"""States that are not what this version and cluster may use are refused with the reason, on each database."""

from __future__ import annotations

import pytest

from reconciler.errors import StateUnreadable
from tests.contracts.conftest import Database


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", r"created by a newer version \(its schema is 9999"),
        ("DELETE FROM alembic_version", "is damaged: it has 0 versions"),
        ("DROP TABLE alembic_version", "is damaged: its version is missing"),
        ("DROP TABLE allocations", "is damaged: (no such table|relation .* does not exist)"),
        ("DELETE FROM meta", "is damaged: its cluster is missing"),
        ("UPDATE meta SET cluster = 'prod'", "is of cluster prod, not of lab"),
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_it_is_refused_with_the_reason(database: Database, statement: str, reason: str, *, read_only: bool) -> None:
    store = database.open()
    with store._engine.begin() as connection:
        connection.exec_driver_sql(statement)
    store.close()
    with pytest.raises(StateUnreadable, match=reason):
        _read(database, read_only=read_only)


def _read(database: Database, *, read_only: bool) -> None:
    store = database.open(read_only=read_only)
    try:
        store.read()
    finally:
        store.close()
