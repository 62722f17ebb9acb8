"""Which steps may go to a host now, and what becomes of the others when one fails; pure, the executor sends them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.plan.model import Action, Step, StepId
from reconciler.plan.results import StepResult, StepStatus, skipped
from reconciler.spec.models.names import HostName


class Schedule:
    """The steps of an apply, each waiting, in flight, or ended.

    A need that is not among the steps is taken as fulfilled: a plan's steps are whole, a part of them was asked for.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = {step.id: step for step in sorted(steps, key=lambda step: step.id)}
        self._in_flight: set[StepId] = set()
        self._ended: dict[StepId, StepResult] = {}
        self._dependants: dict[StepId, list[Step]] = {}
        for step in self._steps.values():
            for need in step.needs:
                self._dependants.setdefault(need, []).append(step)
        self._removals = {
            (step.host, step.address): step.id for step in self._steps.values() if step.action is Action.DELETE
        }

    def replacing(self, step: Step) -> bool:
        """Whether a step makes again what another step removes: what was there before says nothing to it."""
        return step.action is not Action.DELETE and (step.host, step.address) in self._removals

    def hosts(self) -> tuple[HostName, ...]:
        """Return the hosts for which steps wait, by name."""
        return tuple(sorted({step.host for step in self.waiting()}))

    def ended(self, step: Step) -> bool:
        """Whether a step has ended, one way or another."""
        return step.id in self._ended

    def waiting(self, host: HostName | None = None) -> tuple[Step, ...]:
        """Return the steps that were not sent yet, to one host or to any."""
        return tuple(
            step
            for step in self._steps.values()
            if step.id not in self._ended and step.id not in self._in_flight and host in {None, step.host}
        )

    def in_flight(self, host: HostName) -> tuple[Step, ...]:
        """Return the steps that were sent to a host and have not ended."""
        return tuple(step for step in self._steps.values() if step.id in self._in_flight and step.host == host)

    def ready(self, host: HostName) -> tuple[Step, ...]:
        """Return the steps that one batch can hold now: all their needs are done, or earlier in the same batch.

        What makes again a thing that this batch removes must wait for the next: its facts are read in between.
        """
        chosen: dict[StepId, Step] = {}
        for step in self.waiting(host):
            removal = self._removals.get((host, step.address)) if self.replacing(step) else None
            if removal not in chosen and all(need in chosen or self._fulfilled(need) for need in step.needs):
                chosen[step.id] = step
        return tuple(chosen.values())

    def _fulfilled(self, need: StepId) -> bool:
        return need not in self._steps or self._done(need)

    def _done(self, number: StepId) -> bool:
        result = self._ended.get(number)
        return result is not None and result.status is StepStatus.DONE

    def send(self, steps: Iterable[Step]) -> None:
        """Count steps as in flight."""
        self._in_flight.update(step.id for step in steps)

    def put_back(self, steps: Iterable[Step]) -> None:
        """Let steps wait again that were not sent after all."""
        self._in_flight.difference_update(step.id for step in steps)

    def end(self, result: StepResult) -> tuple[StepResult, ...]:
        """Note how a step ended, and return it with what follows: without success, all that need it are skipped."""
        results: list[StepResult] = []
        followers: list[StepResult] = [result]
        while followers:
            current = followers.pop(0)
            if current.step.id in self._ended:
                continue
            self._ended[current.step.id] = current
            self._in_flight.discard(current.step.id)
            results.append(current)
            if current.status is not StepStatus.DONE:
                needing = self._dependants.get(current.step.id, ())
                followers += [skipped(step, result.step) for step in needing]
        return tuple(results)

    def results(self) -> tuple[StepResult, ...]:
        """Return the result of every step, in the order of the plan."""
        return tuple(
            self._ended.get(number) or StepResult(step, StepStatus.NOT_STARTED) for number, step in self._steps.items()
        )
