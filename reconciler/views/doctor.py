"""Formats the result of `doctor`: one table for each host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reconciler.apply.observation.doctor import Examination
from reconciler.plan.snapshot import Cordon
from reconciler.spec.models.names import HostName
from reconciler.views import documents
from reconciler.views.plan import NO_CORDONS, cordons_data, cordons_text
from reconciler.views.tables import Table
from reconciler.views.view import Block, View

_HERE = "here"
"""The title of the checks of this machine."""


def doctor_view(examined: Sequence[Examination], cordoned: Mapping[HostName, Cordon] = NO_CORDONS) -> View:
    """Show the checks of every host, whether all hosts are ready, and which take no new VMs."""
    return View(
        lambda: [*_blocks(examined), *([cordons_text(cordoned)] if cordoned else [])],
        lambda: _document(examined, cordoned),
    )


def _document(examined: Sequence[Examination], cordoned: Mapping[HostName, Cordon]) -> documents.DoctorDocument:
    hosts = [
        documents.CheckedHost(
            host=examination.host,
            fit=examination.fit,
            checks=[documents.Check.model_validate(finding) for finding in examination.findings],
        )
        for examination in examined
    ]
    closed = [documents.CordonedHost.model_validate(each) for each in cordons_data(cordoned)]
    return documents.DoctorDocument(fit=all(host.fit for host in hosts), hosts=hosts, hosts_cordoned=closed)


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
