"""Which steps may go: properties over generated graphs, with every step ending one way or another."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from reconciler.apply.execution.schedule import Schedule
from reconciler.plan.model import Step
from reconciler.plan.results import StepResult, StepStatus
from tests.apply.files import create, delete, file

HOSTS = ("worker1", "worker2", "worker3")


@st.composite
def plans(draw: st.DrawFn) -> list[Step]:
    steps = []
    for number in range(1, draw(st.integers(1, 15)) + 1):
        folder = Path("/srv") / draw(st.sampled_from(HOSTS))
        needs = draw(st.sets(st.integers(1, number - 1), max_size=3)) if number > 1 else set()
        steps.append(create(number, file(folder, f"f{number}"), *sorted(needs)))
    return steps


@given(plans(), st.sets(st.integers(1, 15)))
def test_every_step_ends_once_and_only_after_its_needs(steps: list[Step], bad: set[int]) -> None:
    schedule = Schedule(steps)
    order: list[int] = []
    while hosts := [host for host in schedule.hosts() if schedule.ready(host)]:
        batch = schedule.ready(hosts[0])
        schedule.send(batch)
        for step in batch:
            if not schedule.ended(step):
                assert set(step.needs) <= set(order)
                schedule.end(StepResult(step, StepStatus.FAILED if step.id in bad else StepStatus.DONE))
                order += [] if step.id in bad else [step.id]
    results = schedule.results()
    assert [result.step.id for result in results] == [step.id for step in steps]
    assert schedule.hosts() == ()
    for result in results:
        failed = [need for need in result.step.needs if need not in order]
        assert (result.status is StepStatus.SKIPPED) == bool(failed)
        if failed:
            assert result.because is not None
            assert result.because.id in bad


def test_a_batch_holds_all_that_waits_only_for_the_same_batch() -> None:
    one, two = Path("/srv/worker1"), Path("/srv/worker2")
    a, b = create(1, file(one, "a")), create(2, file(one, "b"), 1)
    far, above = create(3, file(two, "far"), 1), create(4, file(one, "above"), 2, 3)
    schedule = Schedule([above, far, b, a])
    assert schedule.ready(a.host) == (a, b)
    assert schedule.ready(far.host) == ()


def test_what_a_batch_removes_is_made_again_in_the_next() -> None:
    folder = Path("/srv/worker1")
    gone, made = delete(1, file(folder, "a")), create(2, file(folder, "a"), 1)
    schedule = Schedule([gone, made])
    assert schedule.replacing(made)
    assert schedule.ready(made.host) == (gone,)
    schedule.end(StepResult(gone, StepStatus.DONE))
    assert schedule.ready(made.host) == (made,)


def test_a_need_outside_the_steps_is_taken_as_fulfilled() -> None:
    alone = create(7, file(Path("/srv/worker1"), "a"), 3)
    assert Schedule([alone]).ready(alone.host) == (alone,)
