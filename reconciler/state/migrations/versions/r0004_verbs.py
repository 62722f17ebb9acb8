"""Adds to each apply in the history which verb began it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; earlier applies may have been of any verb, and count as `apply`."""
    op.add_column("applies", sa.Column("verb", sa.Text, nullable=False, server_default="apply"))
