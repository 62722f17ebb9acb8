"""What Ctrl-C does during work on the event loop, and between two pieces of work."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from reconciler.cli.interrupt import Runs

NOTICE = "Interrupted: finishing steps in flight. Ctrl-C again aborts.\n"


@pytest.fixture
def runs() -> Iterator[Runs]:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Runs() as opened:
        yield opened
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_only_sets_stop(runs: Runs, capsys: pytest.CaptureFixture[str], number: int) -> None:
    async def work() -> str:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(runs.stop.wait(), 5)
        return "finished"

    assert runs.run(work()) == "finished"
    assert capsys.readouterr().err == NOTICE


def test_the_second_signal_cancels_the_work(runs: Runs) -> None:
    ended = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await runs.stop.wait()
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        runs.run(work())
    assert ended == ["cleaned up"]


def test_a_terminal_that_hangs_up_again_does_not_cancel_the_work(runs: Runs) -> None:
    async def work() -> str:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(runs.stop.wait(), 5)
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.1)
        return "finished"

    assert runs.run(work()) == "finished"


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Runs() as runs:

            async def work() -> bool:
                os.kill(os.getpid(), signal.SIGHUP)
                await asyncio.sleep(0.1)
                return runs.stop.is_set()

            assert not runs.run(work())
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_two_runs_leaves_what_was_entered(runs: Runs, number: int) -> None:
    events = []

    @asynccontextmanager
    async def held() -> AsyncIterator[str]:
        yield "lock"
        events.append("released")

    def interrupted() -> None:
        with runs.entered(held()) as value:
            events.append(value)
            os.kill(os.getpid(), number)
            signal.pause()

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert events == ["lock", "released"]
