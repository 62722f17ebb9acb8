"""Connections for the length of one verb, told of on request."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from reconciler.apply.execution.events import Event, HostLost
    from reconciler.apply.transport.connection import Connection, Connector
    from reconciler.cli.session import Session
    from reconciler.spec.models.cluster import Cluster
    from reconciler.spec.models.names import HostName
    from reconciler.workflow import Hosts


@asynccontextmanager
async def connecting(session: Session, cluster: Cluster) -> AsyncIterator[Connector]:
    """Yield a connector to the cluster's hosts, and end its connections afterwards."""
    from reconciler.apply.transport.ssh import SshConnector  # noqa: PLC0415 - planning needs no SSH

    connector = SshConnector(cluster)
    try:
        yield _Telling(connector) if session.verbose else connector
    finally:
        await connector.close()


@asynccontextmanager
async def at_work(
    session: Session,
    cluster: Cluster,
    stop: asyncio.Event,
    lost: list[HostLost],
    *,
    parallelism: int,
    lock_timeout: float = 0.0,
) -> AsyncIterator[Hosts]:
    """Yield the hosts, with progress that is shown; those that are lost meanwhile are added to `lost`."""
    from reconciler.apply.execution.events import HostLost  # noqa: PLC0415 - as above
    from reconciler.cli.progress import progress  # noqa: PLC0415
    from reconciler.workflow import Hosts  # noqa: PLC0415

    async with connecting(session, cluster) as connector:
        with progress(session) as shown:

            def observer(event: Event) -> None:
                if isinstance(event, HostLost):
                    lost.append(event)
                shown(event)

            yield Hosts(connector, parallelism, observer, stop, lock_timeout)


class _Telling:
    """Says on stderr how long each new connection took; what fails is told by whoever asked for it."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._seen: list[Connection] = []

    async def connect(self, host: HostName) -> Connection:
        started = time.monotonic()
        connection = await self._connector.connect(host)
        if not any(connection is seen for seen in self._seen):
            self._seen.append(connection)
            sys.stderr.write(f"{host:<10} connected in {time.monotonic() - started:.1f} s\n")
        return connection

    async def close(self) -> None:
        await self._connector.close()
