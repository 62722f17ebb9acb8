"""Connections for the length of one verb."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from reconciler.apply.connection import Connector

C = TypeVar("C", bound=Connector)


@asynccontextmanager
async def closing(connector: C) -> AsyncIterator[C]:
    """Yield a connector, and end its connections afterwards."""
    try:
        yield connector
    finally:
        await connector.close()
