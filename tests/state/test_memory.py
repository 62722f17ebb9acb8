"""The store in memory says after every apply what SQLite says, however the applies end."""

from __future__ import annotations

from contextlib import closing

import pytest
from hypothesis import given, settings

from reconciler.simulation.cluster import NOW, ignore
from reconciler.spec.models.names import SliceKey
from reconciler.state.image import image_of
from reconciler.state.memory import MemoryStore
from reconciler.state.store import ApplyId
from tests.effort import examples
from tests.simulation.sqlite_state import SqliteState
from tests.state.test_claims_property import ROUNDS, Course, apply


@pytest.mark.slow
@given(ROUNDS)
@settings(max_examples=examples(40), deadline=None)
def test_it_says_what_sqlite_says(rounds: list[tuple[int | None, Course]]) -> None:
    with closing(SqliteState(ignore)) as sqlite:
        memory = MemoryStore(lambda: NOW)
        vlan: int | None = None
        for wanted, course in rounds:
            apply(memory, vlan, wanted, course)
            vlan = apply(sqlite, vlan, wanted, course)
            assert memory.read() == sqlite.read()
            assert memory.history() == sqlite.history()
            scope = [*sqlite.read().allocations, SliceKey("nobody/none")]
            assert all(memory.marks(scope, ApplyId(one)) == sqlite.marks(scope, ApplyId(one)) for one in (1, 99))
            assert [memory.journal(one.id) for one in memory.history()] == [
                sqlite.journal(one.id) for one in sqlite.history()
            ]
        copied = MemoryStore(lambda: NOW)
        copied.restore(image_of(sqlite.export()))
        assert copied.read() == sqlite.read()
