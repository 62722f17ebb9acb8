"""Ctrl-C: once to finish what is in flight, twice to abort; while a question is asked, once is enough."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

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


@contextmanager
def plain_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt again while something blocks the event loop."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
