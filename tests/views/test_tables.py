from __future__ import annotations

import io
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from reconciler.cli.colour import write_coloured
from reconciler.views.tables import Table, plain

CELLS = (
    st.none() | st.booleans() | st.integers() | st.text("ab-/ \n", max_size=12) | st.lists(st.text("xy", min_size=1))
)


@given(st.lists(st.fixed_dictionaries({"name": CELLS, "vlan_id": CELLS}), max_size=4), st.none() | st.just("A title"))
def test_a_table_without_a_terminal_looks_as_on_one(rows: list[dict[str, Any]], title: str | None) -> None:
    shown = io.StringIO()
    write_coloured(Console(file=shown, width=10_000, highlight=False, soft_wrap=True), Table(rows, title))
    found = [line.rstrip() for line in plain(Table(rows, title)).splitlines()]
    assert found == [line.rstrip() for line in shown.getvalue().splitlines()]
