"""The work of the executor grows with the number of steps and not with its square; calls are counted, not time."""

from __future__ import annotations

import asyncio
import sys
from types import FrameType

from tests.bench.scheduling import make_steps, perform


def calls_for_each_step(hosts: int, count: int) -> float:
    """Return how many calls within apply/execution a step takes; each item of a generator counts as one."""
    steps = make_steps(hosts, count)
    calls = 0

    def count_call(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event == "call" and "/apply/execution/" in frame.f_code.co_filename

    async def work() -> None:
        sys.setprofile(count_call)
        try:
            report = await perform(steps)
        finally:
            sys.setprofile(None)
        assert report.ok

    asyncio.run(work())
    return calls / len(steps)


def test_a_step_costs_as_much_among_many_hosts_as_among_few() -> None:
    assert calls_for_each_step(80, 5) < 1.2 * calls_for_each_step(10, 5)


def test_a_step_costs_as_much_among_many_steps_as_among_few() -> None:
    assert calls_for_each_step(5, 80) < 1.2 * calls_for_each_step(5, 10)
