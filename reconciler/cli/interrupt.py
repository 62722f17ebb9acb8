"""Runs work on one event loop and handles Ctrl-C: once to finish steps in flight, twice to abort."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from typer import Abort

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Runs:
    """Runs coroutines one after another on one event loop, which does not run in between.

    So a question can be asked between two of them, while connections and locks stay. The first Ctrl-C during a run sets
    `stop`. The second one cancels the run, which raises KeyboardInterrupt. Between runs, the first one raises it.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        """Use it as a context, so that the loop is closed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the loop."""
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        aborted = False

        async def watched() -> T:
            task = asyncio.ensure_future(work)

            def on_signal() -> None:
                nonlocal aborted
                if self.stop.is_set():
                    aborted = True
                    task.cancel()
                else:
                    self.stop.set()
                    sys.stderr.write("Interrupted: finishing steps in flight. Ctrl-C again aborts.\n")

            loop = asyncio.get_running_loop()
            for number in _SIGNALS:
                loop.add_signal_handler(number, on_signal)
            try:
                return await task
            finally:
                for number in _SIGNALS:
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


def ask(question: str) -> str:
    """Write a question to standard error and read the line that answers it; "" at the end of input.

    Ctrl-C raises Abort. A signal just before `read` begins to wait would not wake it, and would be handled only after
    the next line. So signals also write to a pipe here, and the wait is for the pipe and the terminal.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    woken = signal.set_wakeup_fd(writing)
    handlers = {number: signal.signal(number, signal.default_int_handler) for number in _SIGNALS}
    try:
        sys.stderr.write(question)
        sys.stderr.flush()
        select.select([sys.stdin, reading], [], [])
        return sys.stdin.readline()
    except KeyboardInterrupt:
        raise Abort from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        os.close(reading)
        os.close(writing)
