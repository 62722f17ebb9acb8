"""Formats the result of `plan --rehearse`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reconciler.plan.model import Plan
from reconciler.views import documents
from reconciler.views.plan_json import plan_data
from reconciler.views.plan_text import render_text
from reconciler.views.view import Block, PlanText, View
from reconciler.workflow.simulate import SimulationFailure


@dataclass(frozen=True, slots=True)
class SimulatedPlan:
    """A simulation without a failure: the interruption points, how many were simulated, and their checkpoints."""

    points: int
    simulated: int
    checkpoints: int
    seconds: float

    def text(self) -> str:
        """Return one line, with its newline."""
        if not self.points:
            return "Simulated: there is nothing to do, so there is no interruption point.\n"
        simulated = "all" if self.simulated == self.points else f"{self.simulated} of"
        return (
            f"Simulated in {self.seconds:.1f} s: stopped at {simulated} {self.points:,} interruption points; after "
            "each, one more apply gave the same hosts and state as an apply without interruption.\n"
        )

    def document(self) -> documents.Simulated:
        """Return it as a part of the plan's document."""
        return documents.Simulated(
            moments=self.points,
            played=self.simulated,
            scenes=self.checkpoints,
            complete=True,
            seconds=round(self.seconds, 3),
        )


def simulated_plan_view(plan: Plan, simulate: Callable[[], SimulatedPlan]) -> View:
    """Show a plan and the result of its simulation; as JSON, both are one document.

    A simulation takes seconds. The text of the plan comes before it, so that people can read it meanwhile.
    """

    def text() -> Iterator[Block]:
        yield PlanText(render_text(plan))
        yield simulate().text()

    return View(text, lambda: plan_data(plan) | {"rehearsal": simulate().document().model_dump()})


def failure_text(failure: SimulationFailure, points: int) -> str:
    """Return where an apply must not be stopped, and what is wrong after one more apply."""
    if not failure.number:
        return f"in the simulation, an apply of this plan does not complete: {failure.problem}"
    return (
        f"if stopped {failure.description} (interruption point {failure.number:,} of {points:,}), one more apply would "
        f"not complete this plan: {failure.problem}"
    )
