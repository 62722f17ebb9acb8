"""Adds the cordons of hosts: no new VMs are placed on a host that has one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table of cordons."""
    op.create_table(
        "cordons",
        sa.Column("host", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
    )
