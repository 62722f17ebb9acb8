"""Stores the cordons of hosts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, insert, select

from reconciler.plan.snapshot import Cordon
from reconciler.spec.models.names import HostName
from reconciler.state import rows
from reconciler.state.sql import schema

_ROWS = schema.cordons


def read(connection: Connection) -> Mapping[HostName, Cordon]:
    """Return the cordons by host."""
    return rows.cordons(connection.execute(select(_ROWS)))


def add(connection: Connection, host: HostName, user: str, now: datetime) -> Cordon:
    """Cordon a host that is not cordoned."""
    connection.execute(insert(_ROWS).values(host=host, user=user, since=now))
    return Cordon(user, now.astimezone(UTC).isoformat())


def remove(connection: Connection, host: HostName) -> None:
    """Remove the cordon of a host."""
    connection.execute(delete(_ROWS).where(_ROWS.c.host == host))
