"""Runs work on one event loop and handles Ctrl-C: once to finish steps in flight, twice to abort."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from reconciler.cli.questions import handled

T = TypeVar("T")


class Runs:
    """Runs coroutines one after another on one event loop, which does not run in between.

    So a question can be asked between two of them, while connections and locks stay. The first Ctrl-C during a run sets
    `stop`. The second one cancels the run, which raises KeyboardInterrupt. Between runs, the first one raises it. A
    terminal that hangs up sets `stop` too, however often it says so.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        """Have signals between runs raise KeyboardInterrupt."""
        self._handlers = {number: signal.signal(number, signal.default_int_handler) for number in handled()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the loop, and handle signals as before."""
        self._runner.close()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        aborted = False

        async def watched() -> T:
            task = asyncio.ensure_future(work)

            def on_signal(number: int) -> None:
                nonlocal aborted
                if not self.stop.is_set():
                    self.stop.set()
                    sys.stderr.write("Interrupted: finishing steps in flight. Ctrl-C again aborts.\n")
                elif number != signal.SIGHUP:
                    aborted = True
                    task.cancel()

            loop = asyncio.get_running_loop()
            for number in self._handlers:
                loop.add_signal_handler(number, on_signal, number)
            try:
                return await task
            finally:
                for number in self._handlers:
                    loop.remove_signal_handler(number)
                    signal.signal(number, signal.default_int_handler)

        try:
            return self._runner.run(watched())
        except asyncio.CancelledError:
            if aborted:
                raise KeyboardInterrupt from None
            raise

    @contextmanager
    def entered(self, manager: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """Enter an asynchronous context in one run, and leave it in another."""
        stack = AsyncExitStack()
        value = self.run(stack.enter_async_context(manager))
        try:
            yield value
        finally:
            self.run(stack.aclose())


def run_reading(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that changes nothing; the first Ctrl-C ends it and raises KeyboardInterrupt."""
    return asyncio.run(work)
