"""Formats the result of `drift`."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.apply.observation.drift import Drift
from reconciler.spec.quoting import plural
from reconciler.views import documents
from reconciler.views.orphans import is_drift, orphan_fields, orphan_lines, unread_documents, unread_lines
from reconciler.views.values import show_change
from reconciler.views.view import View
from reconciler.workflow import ClusterDrift


def drift_view(found: ClusterDrift, count: int) -> View:
    """Show how hosts differ from the state, of which `count` resources were compared."""
    return View(lambda: ["".join(f"{line}\n" for line in _lines(found, count))], lambda: _document(found, count))


def _document(found: ClusterDrift, count: int) -> documents.DriftDocument:
    return documents.DriftDocument(
        resources=count,
        resource_drift=[_drifted(item) for item in found.drift],
        orphans=[documents.Orphan(**orphan_fields(orphan)) for orphan in found.orphans],
        unread=unread_documents(found.unread),
    )


def _drifted(item: Drift) -> documents.DriftedResource:
    return documents.DriftedResource(
        address=item.address,
        host=item.host,
        kind=item.kind,
        attributes=[
            documents.DriftedAttribute(name=each.name, recorded=each.expected, observed=each.observed)
            for each in item.attributes
        ],
        words=item.message,
    )


def _lines(found: ClusterDrift, count: int) -> Iterator[str]:
    for item in found.drift:
        yield f"{item.kind}: {item.address} on {item.host}{f': {item.message}' if item.message else ''}"
        for attribute in item.attributes:
            expected, observed = show_change(attribute.name, attribute.expected, attribute.observed)
            yield f"  {attribute.name} = {expected} -> {observed}"
    reported = {item.host for item in found.drift if item.message}
    yield from orphan_lines(found.orphans)
    yield from unread_lines(one for one in found.unread if one.host not in reported)
    orphans = sum(map(is_drift, found.orphans))
    verdict = f"No drift in {plural(count, 'resource')}"
    if found.drift:
        verdict = f"{len(found.drift)} of {plural(count, 'resource')} differ from the state"
    yield f"{verdict}; {plural(orphans, 'orphan')}." if orphans else f"{verdict}."
