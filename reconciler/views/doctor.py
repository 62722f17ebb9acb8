"""Formats the result of `doctor`: one table for each host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.apply.observation.doctor import Examination
from reconciler.errors import ReconcilerError
from reconciler.plan.snapshot import Cordon
from reconciler.spec.models.names import HostName
from reconciler.spec.quoting import escape
from reconciler.views import documents
from reconciler.views.plan import cordons_data, cordons_text
from reconciler.views.tables import Table
from reconciler.views.view import Block, View

_HERE = "here"
"""The title of the checks of this machine."""


@dataclass(frozen=True, slots=True)
class StateCheck:
    """Where the state is, which hosts take no new VMs, and why hosts refuse to work for this state (None: they do)."""

    place: str
    cordoned: Mapping[HostName, Cordon]
    ownership: ReconcilerError | None


def all_fit(examined: Sequence[Examination], state: StateCheck) -> bool:
    """Whether every host is ready and works for this state."""
    return all(examination.fit for examination in examined) and state.ownership is None


def doctor_view(examined: Sequence[Examination], state: StateCheck) -> View:
    """Show the checks of every host, whether all hosts are ready, which take no new VMs, and where the state is."""
    return View(
        lambda: [*_blocks(examined), *_remarks(state)],
        lambda: _document(examined, state),
        lambda: f"State: {escape(state.place)}\n",
    )


def _remarks(state: StateCheck) -> Iterator[str]:
    if state.cordoned:
        yield cordons_text(state.cordoned)
    if state.ownership is not None:
        yield f"{escape(state.ownership.summary)}\n"
        yield f"hint: {escape(state.ownership.hint or '')}\n"


def _document(examined: Sequence[Examination], state: StateCheck) -> documents.DoctorDocument:
    hosts = [
        documents.CheckedHost(
            host=examination.host,
            fit=examination.fit,
            checks=[documents.Check.model_validate(finding) for finding in examination.findings],
        )
        for examination in examined
    ]
    closed = [documents.CordonedHost.model_validate(each) for each in cordons_data(state.cordoned)]
    return documents.DoctorDocument(
        fit=all_fit(examined, state),
        hosts=hosts,
        hosts_cordoned=closed,
        state=state.place,
        ownership=None if state.ownership is None else state.ownership.summary,
    )


def _blocks(examined: Sequence[Examination]) -> Iterator[Block]:
    for examination in examined:
        yield Table(_rows(examination), examination.host or _HERE)
    unfit = [examination.host or _HERE for examination in examined if not examination.fit]
    yield f"Not ready: {', '.join(unfit)}.\n" if unfit else "Every host is ready.\n"


def _rows(examination: Examination) -> list[dict[str, Any]]:
    """Return a row for each check; the last column is omitted if there is nothing to do."""
    rows = [
        {"check": one.check, "result": one.verdict, "found": one.found, "what to do": one.remedy or ""}
        for one in examination.findings
    ]
    nothing = not any(row["what to do"] for row in rows)
    return [{name: value for name, value in row.items() if not (nothing and name == "what to do")} for row in rows]
