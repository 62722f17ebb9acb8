"""Gives alembic the connection that the store opened."""

from __future__ import annotations

from alembic import context

from reconciler.state.sql import schema

context.configure(connection=context.config.attributes["connection"], target_metadata=schema.metadata)
with context.begin_transaction():
    context.run_migrations()
