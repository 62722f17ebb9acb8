"""Gives a preview as a document for programs, and as the reports that review tools read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from reconciler import __version__
from reconciler.errors import Problem
from reconciler.plan.model import Action
from reconciler.plan.planfile import plan_digest
from reconciler.spec.quota import Usage
from reconciler.views.plan_json import plan_data
from reconciler.views.preview import SliceChanges, changed_slices, headline, notes
from reconciler.views.view import Document, Model

if TYPE_CHECKING:
    from reconciler.workflow.preview import OwnerUsage, Preview

MOST_RESULTS: Final = 5_000
"""GitHub shows this many results of a SARIF file."""

_SARIF: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_DOCS: Final = "https://github.com/topology-reconciler/topology-reconciler/blob/main/docs/errors.md"


class PreviewRevision(Model):
    """A revision: the name that was given, and its commit."""

    name: str
    commit: str


class PreviewSlice(Model):
    """What the merge does to one slice, or to what slices share (`slice` is null); VLANs as `100-119`."""

    slice: str | None
    add: int
    change: int
    replace: int
    destroy: int
    restarted: list[str]
    disturbed: list[str]
    data_lost: list[str]
    vlans_before: str
    vlans_after: str


class PreviewProblem(Model):
    """A problem in the merged files; `new` says that the base does not have it."""

    code: str
    summary: str
    file: str | None
    line: int | None
    column: int | None
    hint: str | None
    new: bool


class PreviewUsage(Model):
    """What an owner with a quota has before and after; memory and disk are in bytes."""

    owner: str
    before: dict[str, int]
    after: dict[str, int]
    limits: dict[str, int]


class PreviewBranch(Model):
    """A branch that was named with --also, or the head: its place in the order of merges, or why it does not fit."""

    name: str
    position: int | None
    reason: str | None


class PreviewDocument(Document):
    """What a merge would change. `plan` is as `plan --json` prints it, made as if the base were applied.

    `pending` is how many changes the base itself still needs; null if it cannot be planned. `digest` is that of the
    plan. `ok` is false if the merge brings problems, or cannot be planned.
    """

    cluster: str
    base: PreviewRevision
    head: PreviewRevision
    serial: int
    ok: bool
    changed: bool
    headline: str
    notes: list[str]
    pending: int | None
    digest: str | None
    slices: list[PreviewSlice]
    unchanged: list[str]
    removed: list[str]
    held_back: list[str]
    problems: list[PreviewProblem]
    quotas: list[PreviewUsage]
    together: list[PreviewBranch]
    plan: dict[str, Any] | None


def preview_document(found: Preview) -> PreviewDocument:
    """Return a preview as a document."""
    return PreviewDocument(
        cluster=found.cluster,
        base=PreviewRevision.model_validate(found.base),
        head=PreviewRevision.model_validate(found.head),
        serial=found.serial,
        ok=found.ok,
        changed=found.plan is not None and not found.plan.empty,
        headline=headline(found),
        notes=list(notes(found)),
        pending=None if found.pending is None else len(found.pending.changes),
        digest=None if found.plan is None else plan_digest(found.plan),
        slices=[_slice(one) for one in changed_slices(found)],
        unchanged=list(found.unchanged),
        removed=list(found.removed),
        held_back=list(found.held_back),
        problems=[_problem(one, is_new=one not in found.known_problems) for one in found.problems],
        quotas=[_usage(one) for one in found.usage],
        together=_together(found),
        plan=None if found.plan is None else plan_data(found.plan),
    )


def _together(found: Preview) -> list[PreviewBranch]:
    if found.together is None:
        return []
    fitting = [
        PreviewBranch(name=name, position=number, reason=None)
        for number, name in enumerate(found.together.order, start=1)
    ]
    return [*fitting, *(PreviewBranch(name=name, position=None, reason=why) for name, why in found.together.refused)]


def _slice(one: SliceChanges) -> PreviewSlice:
    return PreviewSlice(
        slice=one.key,
        add=one.count(Action.CREATE),
        change=one.count(Action.UPDATE),
        replace=one.count(Action.REPLACE),
        destroy=one.count(Action.DELETE),
        restarted=list(one.restarted),
        disturbed=[each.address for each in one.disturbed],
        data_lost=list(one.losing),
        vlans_before=one.vlans_before,
        vlans_after=one.vlans_after,
    )


def _problem(one: Problem, *, is_new: bool) -> PreviewProblem:
    place = one.location
    return PreviewProblem(
        code=one.code,
        summary=one.summary,
        file=place.file if place else None,
        line=place.line if place else None,
        column=place.column if place else None,
        hint=one.hint,
        new=is_new,
    )


def _usage(one: OwnerUsage) -> PreviewUsage:
    before, after = (dict(zip(Usage._fields, usage, strict=True)) for usage in (one.before, one.after))
    return PreviewUsage(owner=one.owner, before=before, after=after, limits=dict(one.limits))


def terraform_report(found: Preview) -> str:
    """Return the counts that GitLab's `artifacts:reports:terraform` shows in a merge request."""
    counts = None if found.plan is None else found.plan.counts
    add, change, destroy = (0, 0, 0) if counts is None else (counts.add, counts.change, counts.destroy)
    replaced = 0 if counts is None else counts.replace
    return _text({"create": add + replaced, "update": change, "delete": destroy + replaced})


def code_quality_report(found: Preview) -> str:
    """Return the problems of the merged files as a Code Climate report, which GitLab shows beside the lines."""
    return _text(
        [
            {
                "description": _message(one),
                "check_name": str(one.code),
                "fingerprint": _fingerprint(one),
                "severity": "critical" if one not in found.known_problems else "minor",
                "location": {"path": one.location.file, "lines": {"begin": one.location.line}},
            }
            for one in found.problems
            if one.location is not None
        ]
    )


def sarif_report(found: Preview) -> str:
    """Return the problems of the merged files as SARIF 2.1.0, with paths from the top of the repository."""
    placed = [one for one in found.problems if one.location is not None][:MOST_RESULTS]
    rules = sorted({str(one.code) for one in placed})
    driver = {
        "name": "reconciler",
        "version": __version__,
        "rules": [{"id": rule, "helpUri": f"{_DOCS}#{rule}"} for rule in rules],
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": "reconciler/validate/"},
        "results": list(_results(placed)),
    }
    return _text({"$schema": _SARIF, "version": "2.1.0", "runs": [run]})


def _results(problems: list[Problem]) -> Iterator[Mapping[str, Any]]:
    for one in problems:
        if (place := one.location) is not None:
            region = {"startLine": place.line, "startColumn": place.column}
            physical = {"artifactLocation": {"uri": _uri(place.file)}, "region": region}
            yield {
                "ruleId": str(one.code),
                "level": "error",
                "message": {"text": _message(one)},
                "locations": [{"physicalLocation": physical}],
                "partialFingerprints": {"problem/v1": _fingerprint(one)},
            }


def _uri(path: str) -> str:
    from urllib.parse import quote  # noqa: PLC0415 - few previews have problems

    return quote(path)


def _message(one: Problem) -> str:
    return f"{one.summary} ({one.hint})" if one.hint else one.summary


def _fingerprint(one: Problem) -> str:
    """Return what a problem is recognised by although lines above it come and go."""
    place = one.location.file if one.location else ""
    return hashlib.sha256("\0".join((one.code, place, one.summary, one.excerpt or "")).encode()).hexdigest()


def _text(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def document_text(found: Preview) -> str:
    """Return the document as JSON."""
    return preview_document(found).model_dump_json(indent=2) + "\n"
