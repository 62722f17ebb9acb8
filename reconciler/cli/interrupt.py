"""Ctrl-C: once to finish what is in flight, twice to abort; while a question is asked, once is enough."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from typer import Abort

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that only looks; the first Ctrl-C ends it, which raises KeyboardInterrupt here."""
    import asyncio  # noqa: PLC0415 - help needs no event loop

    return asyncio.run(work)


def interruptible(work: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine; the first Ctrl-C sets its event, the second cancels it, which raises KeyboardInterrupt here."""
    import asyncio  # noqa: PLC0415 - help needs no event loop

    aborted = False

    async def run() -> T:
        stop = asyncio.Event()
        task = asyncio.ensure_future(work(stop))

        def on_signal() -> None:
            nonlocal aborted
            if stop.is_set():
                aborted = True
                task.cancel()
            else:
                stop.set()
                sys.stderr.write("Interrupted: finishing what is in flight. Ctrl-C again aborts.\n")

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, on_signal)
        return await task

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        if aborted:
            raise KeyboardInterrupt from None
        raise


def ask(question: str) -> str:
    """Put a question on standard error and read the line that answers it; "" at the end of input.

    Ctrl-C raises Abort, whenever it comes after the question is seen. A signal that comes just before `read` begins to
    wait would not wake it, and would be heard only after the next line. Signals also write to a pipe here, so waiting
    on that and on the terminal misses none.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    woken = signal.set_wakeup_fd(writing)
    handlers = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
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
