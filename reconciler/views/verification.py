"""Formats the result of `verify`."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.spec.quoting import plural
from reconciler.verify.verification import Verification
from reconciler.views import documents
from reconciler.views.view import View


def verification_view(result: Verification) -> View:
    """Show each violation and each silent guest, the counts, and a last line with the verdict."""
    return View(lambda: ["".join(f"{line}\n" for line in _lines(result))], lambda: _document(result))


def _document(result: Verification) -> documents.VerifyDocument:
    return documents.VerifyDocument(
        proved=result.verified,
        present=result.present,
        absent=result.absent,
        dropped=result.dropped,
        violations=[
            documents.Violation(kind=one.kind, ends=list(one.ends), words=one.message, path=list(one.path))
            for one in result.violations
        ],
        routed=documents.Routed.model_validate(result.routed),
        probed=None if result.probed is None else documents.Probed.model_validate(result.probed),
    )


def _lines(result: Verification) -> Iterator[str]:
    silent = result.probed.silent if result.probed is not None else ()
    yield from map(str, result.violations)
    for one in silent:
        yield f"silent: {one} does not reply to ARP; it may not have booted yet"
    if result.probed is not None:
        yield f"{plural(result.probed.answered, 'NIC')} replied to ARP from their own MAC only."
    yield f"{plural(result.dropped, 'forged frame')} dropped."
    verdict = "Verified:"
    if not result.verified:
        found = [plural(len(result.violations), "violation")] if result.violations else []
        found += [f"{plural(len(silent), 'NIC')} silent"] if silent else []
        verdict = f"Not verified: {', '.join(found)};"
    yield (
        f"{verdict} {_pairs(result.present, result.absent)}"
        f" Through routers: {_pairs(result.routed.present, result.routed.absent)}"
    )


def _pairs(present: int, absent: int) -> str:
    return f"{plural(present, 'declared path')} present, {plural(absent, 'undeclared pair')} absent."
