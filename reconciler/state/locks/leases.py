"""Holds locks while a block runs: waits for them, renews them, and takes over leases that have expired.

No wall clock is trusted, as in the leader election of Kubernetes' client-go: a waiting process decides that a lease has
expired once it has itself seen, on its own monotonic clock, that the lease was not renewed for its time to live. The
store refuses later writes of the former holder, and hosts refuse its commands, by the fencing token.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from reconciler.errors import StateError, StateLocked, StateLost
from reconciler.state.store import Holder, Lock, StateStore
from reconciler.state.worker import StateWorker

POLL_INTERVAL: Final = 0.2
"""Seconds between two checks of a lock that another process holds."""

BEATS: Final = 6
"""How often a lease is renewed within its time to live: some renewals may be late or fail."""

_JOIN_TIMEOUT: Final = 5.0
"""Seconds to wait for a renewal that has started; one that hangs longer is left: it finds nothing to renew."""


class Watch:
    """Finds leases that were not renewed for their time to live."""

    def __init__(self, ttl: float, monotonic: Callable[[], float]) -> None:
        self._ttl = ttl
        self._monotonic = monotonic
        self._seen: dict[int, tuple[datetime, float]] = {}

    def silent(self, held: Iterable[Lock]) -> tuple[Lock, ...]:
        """Compare the leases that are held now with earlier calls, and return those that have expired."""
        now = self._monotonic()
        seen = {}
        silent = []
        for lock in held:
            alive, first = self._seen.get(lock.token, (None, now))
            if alive != lock.alive:
                first = now
            elif now - first >= self._ttl:
                silent.append(lock)
            seen[lock.token] = (lock.alive, first)
        self._seen = seen
        return tuple(silent)


@dataclass(frozen=True, slots=True)
class LockWait:
    """How many seconds to wait for locks; `notify` gets one message for each holder, `stop` ends the wait."""

    seconds: float
    notify: Callable[[str], None]
    stop: asyncio.Event


@asynccontextmanager
async def hold(
    store: StateStore,
    names: Collection[str],
    holder: Holder,
    wait: LockWait,
    worker: StateWorker,
    monotonic: Callable[[], float] = time.monotonic,
) -> AsyncIterator[tuple[Lock, ...]]:
    """Hold all of these locks while the block runs, and renew them; a lease that expires is taken over.

    The store is called in the worker's thread. Raises StateLocked where another process keeps one of the locks.
    """
    watch = Watch(store.ttl.total_seconds(), monotonic)
    deadline = monotonic() + wait.seconds
    silent: Sequence[Lock] = ()
    known: set[Holder] = set()
    async with AsyncExitStack() as stack:
        while True:
            try:
                taken = await stack.enter_async_context(worker.hold(store.lock(names, holder, silent)))
                break
            except StateLocked as error:
                if monotonic() >= deadline or wait.stop.is_set():
                    raise
                held = [lock for lock in await worker.run(store.locks) if lock.name in names]
                silent = watch.silent(held)
                holders = {lock.holder for lock in held}
                if holders - known:
                    wait.notify(error.summary)
                    known |= holders
            await asyncio.sleep(min(POLL_INTERVAL, max(deadline - monotonic(), 0)))
        await stack.enter_async_context(worker.hold(renewed(store, taken)))
        yield taken


def renewed(store: StateStore, taken: Collection[Lock]) -> AbstractContextManager[None]:
    """Renew locks while the block runs, in a thread: neither a question nor a busy event loop delays it.

    Once the locks are lost, renewing stops: the next write raises StateLost.
    """
    return _renewed(store, taken, store.ttl.total_seconds() / BEATS)


@contextmanager
def _renewed(store: StateStore, taken: Collection[Lock], every: float) -> Iterator[None]:
    ended = threading.Event()
    thread = threading.Thread(target=_renew, args=(store, taken, every, ended), name="leases", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_JOIN_TIMEOUT)


def _renew(store: StateStore, taken: Collection[Lock], every: float, ended: threading.Event) -> None:
    while not ended.wait(every):
        try:
            store.renew(taken)
        except StateLost:
            return
        except StateError:
            continue  # a database that does not answer now may answer at the next renewal
