"""Holds locks for as long as some work takes: waits for them, watches who else holds them, and renews them.

Nobody's wall clock is trusted, as in the leader election of Kubernetes' client-go: who waits judges a lease dead once
it has itself seen, on its own monotonic clock, that the lease was not renewed for its time to live. What the holder of
a lease that was taken over may still write is the store's part, what it may still do to hosts is theirs.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from reconciler.errors import StateError, StateLocked, StateLost
from reconciler.state.store import Holder, Lock, StateStore

LOOK_AGAIN: Final = 0.2
"""Seconds between two looks at a lock that another holds."""

BEATS: Final = 6
"""How often a lease is renewed within its time to live: some renewals may come late or fail."""


_PATIENCE: Final = 5.0
"""Seconds that a renewal under way may take to end; one that hangs holds up nobody, it finds nothing to renew."""


class Watch:
    """Tells which leases have been silent for their time to live, from what it was shown of them."""

    def __init__(self, ttl: float, monotonic: Callable[[], float]) -> None:
        self._ttl = ttl
        self._monotonic = monotonic
        self._seen: dict[int, tuple[datetime, float]] = {}

    def silent(self, standing: Iterable[Lock]) -> tuple[Lock, ...]:
        """Take a look at the leases that stand now, and return those that nobody has renewed for long enough."""
        now = self._monotonic()
        seen = {}
        silent = []
        for lock in standing:
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
    """How long locks are waited for, in seconds; `tell` is told once of each holder, `stop` ends the wait."""

    seconds: float
    notify: Callable[[str], None]
    stop: asyncio.Event


@asynccontextmanager
async def hold(
    store: StateStore,
    names: Collection[str],
    holder: Holder,
    wait: LockWait,
    monotonic: Callable[[], float] = time.monotonic,
) -> AsyncIterator[tuple[Lock, ...]]:
    """Hold all of these locks while the block runs, and renew them; a lease that falls silent is taken over.

    Raises StateLocked where one stays another's.
    """
    with ExitStack() as stack:
        taken = await _wait(stack, store, names, holder, wait, monotonic)
        stack.enter_context(renewed(store, taken))
        yield taken


async def _wait(
    stack: ExitStack,
    store: StateStore,
    names: Collection[str],
    holder: Holder,
    wait: LockWait,
    monotonic: Callable[[], float],
) -> tuple[Lock, ...]:
    watch = Watch(store.ttl.total_seconds(), monotonic)
    deadline = monotonic() + wait.seconds
    silent: Sequence[Lock] = ()
    told: set[Holder] = set()
    while True:
        try:
            return stack.enter_context(store.lock(names, holder, silent))
        except StateLocked as error:
            if monotonic() >= deadline or wait.stop.is_set():
                raise
            standing = [lock for lock in store.locks() if lock.name in names]
            silent = watch.silent(standing)
            holders = {lock.holder for lock in standing}
            if holders - told:
                wait.notify(error.summary)
                told |= holders
        await asyncio.sleep(min(LOOK_AGAIN, max(deadline - monotonic(), 0)))


def renewed(store: StateStore, taken: Collection[Lock]) -> AbstractContextManager[None]:
    """Renew locks while the block runs, from a thread of its own: neither a question nor a busy loop holds it up.

    Once they are lost there is nothing to renew: whatever is written next says so.
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
        thread.join(_PATIENCE)


def _renew(store: StateStore, taken: Collection[Lock], every: float, ended: threading.Event) -> None:
    while not ended.wait(every):
        try:
            store.renew(taken)
        except StateLost:
            return
        except StateError:
            continue  # a record that does not answer now may answer at the next beat
