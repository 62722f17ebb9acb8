"""Creates the first schema: the state, its journal and history, and locks with room for leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TIME = sa.DateTime(timezone=True)
_COUNT = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create every table."""
    _make_state()
    _make_resources()
    _make_history()
    _make_locks()


def _make_state() -> None:
    op.create_table(
        "meta",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("lineage", sa.Text, nullable=False),
        sa.Column("cluster", sa.Text, nullable=False),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("serial", "shared_moved", "given_moved", "slice_id", "vm_id", "link_id", "turn")
        ),
        sa.Column("applies", sa.BigInteger, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "slices",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("moved", sa.BigInteger, nullable=False),
        sa.Column("leaving", sa.Boolean, nullable=False),
    )
    op.create_table(
        "allocations",
        sa.Column("slice", sa.Text, sa.ForeignKey("slices.key", ondelete="CASCADE"), primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "claims",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("scope", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, primary_key=True),
        sa.Column("slice", sa.Text, sa.ForeignKey("slices.key", ondelete="CASCADE"), nullable=False),
        sa.Column("held", sa.Boolean, nullable=False),
    )
    op.create_index("claims_slice", "claims", ["slice"])


def _make_resources() -> None:
    op.create_table(
        "resources",
        sa.Column("address", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("slice", sa.Text),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attributes", sa.Text, nullable=False),
        sa.Column("pending", sa.Text),
        sa.Column("due", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_index("resources_slice", "resources", ["slice"])


def _make_history() -> None:
    op.create_table(
        "applies",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("slices", sa.Text, nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("started", _TIME, nullable=False),
        sa.Column("finished", _TIME),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("done", "failed", "skipped")),
    )
    op.create_table(
        "journal",
        sa.Column("id", _COUNT, primary_key=True),
        sa.Column("apply", sa.BigInteger, sa.ForeignKey("applies.id"), nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("intended", _TIME, nullable=False),
        sa.Column("recorded", _TIME),
        sa.Column("outcome", sa.Text),
        sa.Column("words", sa.Text, nullable=False),
    )
    op.create_index("journal_apply_step", "journal", ["apply", "step"])


def _make_locks() -> None:
    op.create_table(
        "locks",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("process", sa.Text),
        sa.Column("boot", sa.Text),
        sa.Column("machine", sa.Text),
        sa.Column("since", _TIME, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("expires", _TIME),
    )
