"""Defines the tables of the state, as the newest migration leaves them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    false,
)

from reconciler.state import revisions


class Utc(TypeDecorator[datetime]):
    """A time in UTC; SQLite stores no zone, so it is added when a time is read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert a time to UTC; raises ValueError for one without a zone."""
        del dialect
        if value is not None and value.tzinfo is None:
            msg = f"a time without a time zone: {value}"
            raise ValueError(msg)
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return a time in UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_COUNT = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only where the key's type is exactly INTEGER."""

metadata = MetaData()

version = Table(revisions.VERSION_TABLE, MetaData(), Column("version_num", Text, primary_key=True))


def _key(name: str, kind: Any = Text) -> Column[Any]:
    return Column(name, kind, primary_key=True)


def _set(name: str, kind: Any = Text) -> Column[Any]:
    return Column(name, kind, nullable=False)


def _slice(*, primary_key: bool = False) -> Column[Any]:
    owner = ForeignKey("slices.key", ondelete="CASCADE")
    return Column("slice", Text, owner, primary_key=primary_key, nullable=False)


# One row. `shared_moved` and `given_moved` are the serials at which a resource that slices share, or an allocation,
# last changed. `applies` and `token` are the last apply number and the last fencing token that were given out.
meta = Table(
    "meta",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    _set("lineage"),
    _set("cluster"),
    _set("serial", BigInteger),
    _set("shared_moved", BigInteger),
    _set("given_moved", BigInteger),
    _set("slice_id", BigInteger),
    _set("vm_id", BigInteger),
    _set("link_id", BigInteger),
    _set("turn", BigInteger),
    _set("applies", BigInteger),
    _set("token", BigInteger),
)

# `moved` is the serial at which a slice last changed; a slice that is `leaving` is deleted with its last resource.
slices = Table("slices", metadata, _key("key"), _set("moved", BigInteger), _set("leaving", Boolean))

allocations = Table("allocations", metadata, _slice(primary_key=True), _set("document"))

# A claim that is `held` is no longer in its slice's allocation, but what used it may still be on a host.
claims = Table(
    "claims",
    metadata,
    _key("kind"),
    _key("scope"),
    _key("value"),
    _slice(),
    _set("held", Boolean),
    Index("claims_slice", "slice"),
)

# A resource that is `due` existed when its slice's latest apply began, and that apply is yet to change or delete it.
resources = Table(
    "resources",
    metadata,
    _key("address"),
    _set("kind"),
    Column("slice", Text),
    _set("host"),
    _set("status"),
    _set("attributes"),
    Column("pending", Text),
    Column("due", Boolean, nullable=False, server_default=false()),
    Index("resources_slice", "slice"),
)

applies = Table(
    "applies",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    _set("slices"),
    _set("user"),
    _set("host"),
    _set("pid", BigInteger),
    _set("started", Utc),
    Column("finished", Utc),
    _set("result"),
    _set("digest"),
    _set("done", Integer),
    _set("failed", Integer),
    _set("skipped", Integer),
    Column("verb", Text, nullable=False, server_default="apply"),
)

journal = Table(
    "journal",
    metadata,
    Column("id", _COUNT, primary_key=True),
    Column("apply", BigInteger, ForeignKey("applies.id"), nullable=False),
    _set("step", Integer),
    _set("action"),
    _set("address"),
    _set("host"),
    _set("intended", Utc),
    Column("recorded", Utc),
    Column("outcome", Text),
    _set("words"),
    Index("journal_apply_step", "apply", "step"),
)

# Each row is a lease. `process`, `boot` and `machine` distinguish the holder's process from a later one with the same
# PID. `expires` is when the lease ends by the holder's clock; each renewal changes it, and waiting processes decide by
# that change alone.
locks = Table(
    "locks",
    metadata,
    _key("name"),
    _set("user"),
    _set("host"),
    _set("pid", BigInteger),
    Column("process", Text),
    Column("boot", Text),
    Column("machine", Text),
    _set("since", Utc),
    _set("token", BigInteger),
    Column("expires", Utc),
)

# Objects on hosts that are not in the state. `fingerprint` distinguishes an object from a later one with the same
# address, and `seen` counts the runs that found it.
orphans = Table(
    "orphans",
    metadata,
    _key("host"),
    _key("address"),
    _key("fingerprint"),
    _set("first_seen", Utc),
    _set("seen", Integer),
)

# Hosts on which no new VMs are placed, and who asked for that.
cordons = Table("cordons", metadata, _key("host"), _set("user"), _set("since", Utc))
