"""Formats orphans, and what surveys could not read, for `drift` and `gc`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from reconciler.apply.observation.orphans import Orphan, Owner, Unread
from reconciler.spec.quoting import plural
from reconciler.views import documents


def is_drift(orphan: Orphan) -> bool:
    """Whether an orphan may belong to this state; an object of another state is no drift."""
    return orphan.owner is not Owner.OTHER


def orphan_fields(orphan: Orphan) -> dict[str, Any]:
    """Return the fields of an orphan's document."""
    key = orphan.key
    return {
        "address": key.address,
        "host": key.host,
        "thing": key.name,
        "slice": orphan.resource.slice,
        "record": orphan.owner,
        "records": list(orphan.lineages),
        "used_by": [documents.Place(address=user.address, host=user.host, thing=user.name) for user in orphan.users],
    }


def unread_documents(unread: Iterable[Unread]) -> list[documents.Unread]:
    """Return the documents of what could not be read."""
    return [documents.Unread(host=one.host, what=one.what, words=one.message) for one in unread]


def orphan_lines(orphans: Iterable[Orphan]) -> Iterator[str]:
    """Yield a line for each orphan, and one for all objects of each other state."""
    known = list(orphans)
    yield from (f"orphan: {orphan_text(orphan)}" for orphan in known if is_drift(orphan))
    yield from other_lines(orphan for orphan in known if not is_drift(orphan))


def orphan_text(orphan: Orphan) -> str:
    """Return the address of an orphan, its host, and the object."""
    unknown = ", of an unknown state" if orphan.owner is Owner.UNKNOWN else ""
    return f"{orphan.key.address} on {orphan.key.host} ({orphan.key.name}){unknown}"


def other_lines(orphans: Iterable[Orphan]) -> Iterator[str]:
    """Yield how many objects of each other state are on which hosts."""
    others: dict[tuple[str, ...], list[Orphan]] = {}
    for orphan in orphans:
        others.setdefault(orphan.lineages, []).append(orphan)
    for lineages, found in others.items():
        hosts = ", ".join(sorted({orphan.key.host for orphan in found}))
        yield f"of another state {' or '.join(lineages)}: {plural(len(found), 'object')} on {hosts}"


def unread_lines(unread: Iterable[Unread]) -> Iterator[str]:
    """Yield which hosts, or which objects on them, could not be read."""
    for one in unread:
        subject = f"unreachable: {one.host}" if one.what == "all" else f"unread: {one.what}s of {one.host}"
        yield f"{subject}: {one.message}"
