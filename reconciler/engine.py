"""Opens what every front end needs to change a cluster: its state, a connector to its hosts, an observer and a stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass, field

from reconciler.apply.execution.attempt import Private
from reconciler.apply.execution.events import Event, Observer, Waiting
from reconciler.apply.observation.observe import Drivers
from reconciler.apply.transport.connection import Connection, Connector
from reconciler.plan.model import Step
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import HostName
from reconciler.state.copies import keep_before_applies
from reconciler.state.location import place_of
from reconciler.state.locks.leases import LockWait, hold
from reconciler.state.locks.process import this_process
from reconciler.state.store import Holder, Lock, StateStore
from reconciler.state.worker import StateWorker

PARALLELISM = 10
"""How many hosts an apply works on at the same time, unless the front end says otherwise."""


def ignore(_event: Event) -> None:
    """Observe nothing."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The cluster and the place of a state, as hosts name them to users of another state."""

    cluster: str
    place: str


@dataclass(frozen=True, slots=True)
class Engine:
    """The state and the hosts of one cluster, and on whose behalf they are changed.

    `lock_timeout` is how long to wait for the locks of slices, in seconds. Once `stop` is set, steps in flight are
    finished and no step is started. The drivers are those of real hosts unless `drivers` is given. The private content
    of resources comes from the files unless `contents` is given. With an `origin`, hosts work for this state only.
    `keep_copy` keeps a copy of the state before an apply. An event loop calls the store through `worker` only.
    """

    store: StateStore
    connector: Connector
    holder: Holder
    observer: Observer = ignore
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    parallelism: int = PARALLELISM
    lock_timeout: float = 0.0
    drivers: Drivers | None = None
    contents: Callable[[Sequence[Step]], Private] | None = None
    worker: StateWorker = field(default_factory=StateWorker)
    origin: Origin | None = None
    keep_copy: Callable[[], object] = field(default=lambda: None)

    def locked(
        self, names: Collection[str], *, store: StateStore | None = None, seconds: float | None = None
    ) -> AbstractAsyncContextManager[tuple[Lock, ...]]:
        """Hold locks and renew them, after waiting for them up to `seconds` (by default, `lock_timeout`)."""
        wait = LockWait(
            self.lock_timeout if seconds is None else seconds, lambda text: self.observer(Waiting(text)), self.stop
        )
        return hold(store or self.store, names, self.holder, wait, self.worker)


@asynccontextmanager
async def open_engine(  # noqa: PLR0913 - the options of a front end, each by name
    cluster: Cluster,
    state: str | None = None,
    *,
    read_only: bool = False,
    observer: Observer = ignore,
    stop: asyncio.Event | None = None,
    parallelism: int = PARALLELISM,
    lock_timeout: float = 0.0,
    report: Callable[[str], None] | None = None,
) -> AsyncIterator[Engine]:
    """Open the state and a connector, and close both afterwards.

    `state` is a file or a URL; by default, the file of this cluster. `report` receives a line for each new connection.
    """
    from reconciler.state.sql.store import open_state  # noqa: PLC0415 - SQLAlchemy: simulations need only the type

    worker = StateWorker()
    with closing(worker), closing(await worker.run(open_state, cluster, state, read_only=read_only)) as store:
        async with connecting(cluster, report) as connector:
            yield Engine(
                store,
                connector,
                this_process(),
                observer=observer,
                stop=stop or asyncio.Event(),
                parallelism=parallelism,
                lock_timeout=lock_timeout,
                worker=worker,
                origin=Origin(cluster.name, store.place),
                keep_copy=keep_before_applies(place_of(cluster, state)),
            )


@asynccontextmanager
async def connecting(cluster: Cluster, report: Callable[[str], None] | None = None) -> AsyncIterator[Connector]:
    """Yield a connector to the hosts of a cluster, and close its connections afterwards."""
    from reconciler.apply.transport.ssh import SshConnector  # noqa: PLC0415 - asyncssh: simulations need only the type

    connector = SshConnector(cluster)
    try:
        yield connector if report is None else _Reporting(connector, report)
    finally:
        await connector.close()


class _Reporting:
    """A connector that reports how long each new connection took."""

    def __init__(self, connector: Connector, report: Callable[[str], None]) -> None:
        self._connector = connector
        self._report = report
        self._known: list[Connection] = []

    async def connect(self, host: HostName) -> Connection:
        started = time.monotonic()
        connection = await self._connector.connect(host)
        if not any(connection is known for known in self._known):
            self._known.append(connection)
            self._report(f"{host:<10} connected in {time.monotonic() - started:.1f} s")
        return connection

    async def close(self) -> None:
        await self._connector.close()
