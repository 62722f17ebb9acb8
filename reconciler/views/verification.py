"""Formats the result of `verify` as text and as plain data for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from reconciler.spec.quoting import plural
from reconciler.verify.verification import Verification


def verification_data(result: Verification) -> dict[str, Any]:
    """Return the result as plain data; the keys are those of `verify --json`."""
    violations = [
        {"kind": one.kind, "ends": one.ends, "words": one.message, "path": one.path} for one in result.violations
    ]
    return {"proved": result.verified} | asdict(result) | {"violations": violations}


def verification_text(result: Verification) -> str:
    """Return one line for each violation and each silent guest, the counts, and a last line with the verdict."""
    return "".join(f"{line}\n" for line in _lines(result))


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
