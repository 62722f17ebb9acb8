"""What a database says of a disk that fails, in a user's words: one error each, and what to do about it."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy.exc import OperationalError

from reconciler.errors import StateError, StateUnreadable
from reconciler.state.faults import RESTORE
from reconciler.state.sql.faults import mapped


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("database or disk is full", "make room on the disk; nothing was partly written"),
        ("disk I/O error", "check the disk and the system's log; what was saved before is still there"),
        (
            "attempt to write a readonly database",
            "check who may write the file and its folder, or name another place with --state",
        ),
        ("database is locked", "another process is writing; try again in a few seconds"),
    ],
)
def test_each_fault_of_a_disk_is_one_error_with_a_hint(said: str, hint: str) -> None:
    with pytest.raises(StateError) as caught, mapped("lab.db"):
        raise OperationalError("UPDATE meta", {}, sqlite3.OperationalError(said))
    assert caught.value.summary == f"the state lab.db cannot be used: {said}"
    assert caught.value.hint == hint
    assert not isinstance(caught.value, StateUnreadable), "what cannot be written is not damaged"


def test_a_damaged_state_has_an_error_of_its_own() -> None:
    with pytest.raises(StateUnreadable, match="is damaged") as caught, mapped("lab.db"):
        raise OperationalError("SELECT 1", {}, sqlite3.DatabaseError("database disk image is malformed"))
    assert caught.value.hint == RESTORE
