"""Orphans in words and as data: what `drift` and `gc` say alike of what nobody records; exit codes are theirs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from reconciler.apply.observation.orphans import Orphan, Owner, Unread
from reconciler.spec.quoting import plural


def is_drift(orphan: Orphan) -> bool:
    """Whether an orphan is for this record to care about: one that another may need is not."""
    return orphan.owner is not Owner.OTHER


def orphan_data(orphan: Orphan) -> dict[str, Any]:
    """Return an orphan as plain data; `records` are the lineages of the other records that it may be of."""
    return {
        "address": orphan.key.address,
        "host": orphan.key.host,
        "thing": orphan.key.name,
        "slice": orphan.resource.slice,
        "record": orphan.owner,
        "records": list(orphan.lineages),
        "used_by": [{"address": user.address, "host": user.host, "thing": user.name} for user in orphan.users],
    }


def orphan_lines(orphans: Iterable[Orphan]) -> Iterator[str]:
    """Say of each orphan what and where it is; of those of other records only how many there are."""
    known = list(orphans)
    yield from (f"orphan: {orphan_words(orphan)}" for orphan in known if is_drift(orphan))
    yield from other_lines(orphan for orphan in known if not is_drift(orphan))


def orphan_words(orphan: Orphan) -> str:
    """Name an orphan, its host, and what it is there."""
    unknown = ", of an unknown record" if orphan.owner is Owner.UNKNOWN else ""
    return f"{orphan.key.address} on {orphan.key.host} ({orphan.key.name}){unknown}"


def other_lines(orphans: Iterable[Orphan]) -> Iterator[str]:
    """Say how much of other records stands where."""
    others: dict[tuple[str, ...], list[Orphan]] = {}
    for orphan in orphans:
        others.setdefault(orphan.lineages, []).append(orphan)
    for records, found in others.items():
        hosts = ", ".join(sorted({orphan.key.host for orphan in found}))
        things = plural(len(found), "thing")
        yield f"of another record {' or '.join(records)}: {things} on {hosts}"


def unread_lines(unread: Iterable[Unread]) -> Iterator[str]:
    """Say which hosts, or which things on them, could not be read."""
    for one in unread:
        subject = f"unreachable: {one.host}" if one.what == "all" else f"unread: {one.what}s of {one.host}"
        yield f"{subject}: {one.message}"
