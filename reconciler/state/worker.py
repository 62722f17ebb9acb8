"""Runs the calls of a store one after another in a thread of its own, so that no event loop waits for SQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class StateWorker:
    """One thread for one open store. It may serve several event loops, one after another."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call in the thread, after those before it, and return its result.

        A call that has begun always ends: if the task is cancelled, CancelledError is raised once the call has ended.
        """
        return await _ended(self._begin(partial(call, *args, **kwargs)))

    @asynccontextmanager
    async def hold(self, context: AbstractContextManager[T]) -> AsyncIterator[T]:
        """Enter a context in the thread, and leave it there when the block ends."""
        entering = self._begin(context.__enter__)
        try:
            value = await _ended(entering)
        except asyncio.CancelledError:
            if entering.exception() is None:
                await self.run(context.__exit__, None, None, None)
            raise
        try:
            yield value
        except BaseException as error:
            await self.run(context.__exit__, type(error), error, error.__traceback__)
            raise
        await self.run(context.__exit__, None, None, None)

    def close(self) -> None:
        """End the thread, after its last call."""
        self._thread.shutdown()

    def _begin(self, call: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, call)


async def _ended(future: asyncio.Future[T]) -> T:
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        raise
