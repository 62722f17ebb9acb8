"""Lists the schema revisions that this version knows; needs neither alembic nor SQLAlchemy."""

from __future__ import annotations

KNOWN = ("0001", "0002", "0003", "0004")
"""Every revision, oldest first; the last is the one that this version reads and writes."""

VERSION_TABLE = "alembic_version"
"""The table in which alembic keeps the revision of a database."""
