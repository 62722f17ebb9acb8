"""Decides which steps may go to a host now, and skips the steps whose needs did not succeed."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from reconciler.plan.model import Action, Step, StepId
from reconciler.plan.results import StepResult, StepStatus, skipped
from reconciler.spec.models.names import HostName


class Schedule:
    """The steps of an apply, each of which is waiting, in flight, or ended.

    A need that is not among the steps counts as fulfilled: the caller passed a part of a plan. For each waiting step
    the schedule counts the needs that are not done, so that a result costs as much as it has dependants.
    `on_ready` is called with the host of each step whose last need is done.
    """

    def __init__(self, steps: Sequence[Step], on_ready: Callable[[HostName], None] = lambda _: None) -> None:
        self._on_ready = on_ready
        self._steps = {step.id: step for step in sorted(steps, key=lambda step: step.id)}
        self._ended: dict[StepId, StepResult] = {}
        hosts = {step.host for step in steps}
        self._waiting: dict[HostName, dict[StepId, Step]] = {host: {} for host in hosts}
        self._in_flight: dict[HostName, dict[StepId, Step]] = {host: {} for host in hosts}
        self._ready: dict[HostName, dict[StepId, Step]] = {host: {} for host in hosts}
        self._open_needs: dict[StepId, int] = {}
        self._dependants: dict[StepId, list[Step]] = {}
        deletions = {(step.host, step.address): step.id for step in steps if step.action is Action.DELETE}
        self._deletion_before: dict[StepId, StepId] = {
            step.id: deletions[step.host, step.address]
            for step in steps
            if deletions and step.action is not Action.DELETE and (step.host, step.address) in deletions
        }
        for step in self._steps.values():
            needs = {need for need in step.needs if need in self._steps}
            for need in needs:
                self._dependants.setdefault(need, []).append(step)
            self._open_needs[step.id] = len(needs)
            self._wait(step)

    def replacing(self, step: Step) -> bool:
        """Whether a step creates again what another step deletes. Facts read before the deletion do not apply to it."""
        return step.id in self._deletion_before

    def hosts(self) -> tuple[HostName, ...]:
        """Return the hosts for which steps wait, by name."""
        return tuple(sorted(host for host, steps in self._waiting.items() if steps))

    def ended(self, step: Step) -> bool:
        """Whether a step has a result."""
        return step.id in self._ended

    def waiting(self, host: HostName) -> tuple[Step, ...]:
        """Return the steps of a host that were not sent yet, in the order of the plan."""
        return _in_order(self._waiting[host])

    def in_flight(self, host: HostName) -> tuple[Step, ...]:
        """Return the steps that were sent to a host and have not ended, in the order of the plan."""
        return _in_order(self._in_flight[host])

    def has_ready(self, host: HostName) -> bool:
        """Whether a batch could be sent to a host now."""
        return bool(self._ready[host])

    def ready(self, host: HostName) -> tuple[Step, ...]:
        """Return the steps that one batch can hold now: all their needs are done, or earlier in the same batch.

        A step that creates again what this batch deletes waits for the next batch: its facts are read in between. So
        does what needs a move: before a guest may change the copy, the state must say that the copy is what counts.
        """
        candidates = list(self._ready[host])
        heapq.heapify(candidates)
        open_needs: dict[StepId, int] = {}
        chosen: dict[StepId, Step] = {}
        while candidates:
            step = self._steps[heapq.heappop(candidates)]
            if step.id in self._deletion_before and self._deletion_before[step.id] in chosen:
                continue
            chosen[step.id] = step
            for dependant in () if step.moves else self._dependants.get(step.id, ()):
                if dependant.host == host and dependant.id in self._waiting[host]:
                    left = open_needs.get(dependant.id, self._open_needs[dependant.id]) - 1
                    open_needs[dependant.id] = left
                    if not left:
                        heapq.heappush(candidates, dependant.id)
        return tuple(chosen.values())

    def send(self, steps: Iterable[Step]) -> None:
        """Count steps as in flight."""
        for step in steps:
            self._waiting[step.host].pop(step.id, None)
            self._ready[step.host].pop(step.id, None)
            self._in_flight[step.host][step.id] = step

    def put_back(self, steps: Iterable[Step]) -> None:
        """Let steps wait again that were not sent after all."""
        for step in steps:
            if self._in_flight[step.host].pop(step.id, None) is not None:
                self._wait(step)

    def end(self, result: StepResult) -> tuple[StepResult, ...]:
        """Note a result, and return it with what follows: without success, all steps that need it are skipped."""
        results: list[StepResult] = []
        followers = deque([result])
        while followers:
            current = followers.popleft()
            number = current.step.id
            if number in self._ended:
                continue
            self._ended[number] = current
            self._forget(current.step)
            results.append(current)
            dependants = self._dependants.get(number, ())
            if current.status is StepStatus.DONE:
                self._fulfil(dependants)
            else:
                followers += [skipped(step, result.step) for step in dependants]
        return tuple(results)

    def results(self) -> tuple[StepResult, ...]:
        """Return the result of every step, in the order of the plan."""
        return tuple(
            self._ended.get(number) or StepResult(step, StepStatus.NOT_STARTED) for number, step in self._steps.items()
        )

    def _wait(self, step: Step) -> None:
        self._waiting[step.host][step.id] = step
        if not self._open_needs[step.id]:
            self._ready[step.host][step.id] = step

    def _forget(self, step: Step) -> None:
        if self._in_flight[step.host].pop(step.id, None) is None:
            self._waiting[step.host].pop(step.id, None)
            self._ready[step.host].pop(step.id, None)

    def _fulfil(self, dependants: Sequence[Step]) -> None:
        """Count one need of each of these steps as done."""
        for step in dependants:
            self._open_needs[step.id] -= 1
            if not self._open_needs[step.id] and step.id in self._waiting[step.host]:
                self._ready[step.host][step.id] = step
                self._on_ready(step.host)


def _in_order(steps: dict[StepId, Step]) -> tuple[Step, ...]:
    return tuple(steps[number] for number in sorted(steps))
