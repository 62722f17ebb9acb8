"""Shows a progress bar for each host that is at work, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from reconciler.apply.execution.events import Event, Observer, StepStarted, UploadProgress, Waiting
from reconciler.cli.colour import console_of
from reconciler.cli.global_options import GlobalOptions
from reconciler.plan.model import Step
from reconciler.plan.results import StepResult
from reconciler.workflow.simulate import OnProgress


@contextmanager
def bars(options: GlobalOptions) -> Iterator[Bars]:
    """Yield bars, which disappear at the end."""
    columns = (SpinnerColumn(), TextColumn("{task.fields[host]:<10}"), TextColumn("{task.description}"))
    shown = Progress(*columns, TimeElapsedColumn(), console=console_of(options, stderr=True), transient=True)
    try:
        yield Bars(shown)
    finally:
        shown.stop()


class Bars:
    """One bar for each host; lines are printed above them."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._tasks: dict[str, TaskID] = {}

    def write(self, text: str) -> None:
        """Print text above the bars."""
        self._shown.console.print(text, end="", markup=False)

    def observer(self, lines: Observer) -> Observer:
        """Return an observer that updates the bars, and passes each event to `lines`."""

        def observe(event: Event) -> None:
            if not isinstance(event, Waiting):  # a question may follow, and bars would cover it
                self._shown.start()
            lines(event)
            match event:
                case StepStarted(step=step):
                    self._show(step, f"{step.action} {step.address}")
                case UploadProgress(step=step, sent=sent, size=size):
                    self._show(step, f"upload {step.address}: {sent / max(size, 1):.0%}")
                case StepResult(step=step) if step.host in self._tasks:
                    self._show(step, "")
                case _:
                    pass

        return observe

    def _show(self, step: Step, text: str) -> None:
        if step.host not in self._tasks:
            self._tasks[step.host] = self._shown.add_task(text, host=step.host, total=None)
        self._shown.update(self._tasks[step.host], description=text)


@contextmanager
def simulation_bar(options: GlobalOptions) -> Iterator[OnProgress]:
    """Yield a callback that shows how many interruption points are simulated."""
    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TextColumn("interruption points"))
    with Progress(*columns, console=console_of(options, stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda simulated, of: bar.update(task, completed=simulated, total=of)
