"""Shows an apply while it works: bars on a terminal (host, step, elapsed), plain lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from reconciler.apply.execution.events import (
    Event,
    Finished,
    HostDropped,
    HostLost,
    Observer,
    StepStarted,
    UploadProgress,
    Waiting,
)
from reconciler.cli.session import Session
from reconciler.plan.model import Action, Step
from reconciler.plan.results import StepResult, StepStatus

_PAST = {Action.CREATE: "created", Action.UPDATE: "changed", Action.DELETE: "deleted", Action.REPLACE: "replaced"}


@contextmanager
def progress(session: Session) -> Iterator[Observer]:
    """Yield an observer that shows events as they come, and nothing before the first: someone may still be asked."""
    if session.json:
        yield _silent
        return
    console = session.console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield _print_lines(sys.stderr.write, verbose=session.verbose)
        return
    columns = (SpinnerColumn(), TextColumn("{task.fields[host]:<10}"), TextColumn("{task.description}"))
    bars = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
    lines = _print_lines(lambda text: bars.console.print(text, end="", markup=False), verbose=session.verbose)
    try:
        yield _Bars(bars, lines).observe
    finally:
        bars.stop()


def _silent(_event: Event) -> None:
    """Show nothing: programs read the result."""


def _print_lines(write: Callable[[str], object], *, verbose: bool) -> Observer:
    def observe(event: Event) -> None:
        line = (
            f"{_label(event.step)}: {event.step.action}" if verbose and isinstance(event, StepStarted) else _line(event)
        )
        if line:
            write(f"{line}\n")

    return observe


def _line(event: Event) -> str | None:
    match event:
        case StepResult(step=step, status=StepStatus.DONE, seconds=seconds):
            return f"{_label(step)}: {_PAST[step.action]} in {seconds:.1f} s"
        case StepResult(step=step, status=status, message=message):
            return f"{_label(step)}: {status}: {_first(message)}"
        case HostDropped() | HostLost() | Waiting():
            return _trouble(event)
        case StepStarted() | UploadProgress() | Finished():
            return None


def _trouble(event: HostDropped | HostLost | Waiting) -> str:
    if isinstance(event, Waiting):
        return f"waiting: {event.message}"
    what = "given up" if isinstance(event, HostLost) else "connection lost, trying again"
    return f"{event.host:<10} {what}: {_first(event.message)}"


def _label(step: Step) -> str:
    return f"{step.host:<10} {step.address}"


def _first(message: str) -> str:
    return next(iter(message.strip().splitlines()), "it gave no reason")


class _Bars:
    """One bar for each host that is at work."""

    def __init__(self, bars: Progress, lines: Observer) -> None:
        self._bars = bars
        self._lines = lines
        self._tasks: dict[str, TaskID] = {}

    def observe(self, event: Event) -> None:
        if not isinstance(event, Waiting):  # the question may be yet to come, and bars would paint over it
            self._bars.start()
        self._lines(event)
        match event:
            case StepStarted(step=step):
                self._show(step, f"{step.action} {step.address}")
            case UploadProgress(step=step, sent=sent, size=size):
                self._show(step, f"upload {step.address}: {sent / max(size, 1):.0%}")
            case StepResult(step=step, status=StepStatus.DONE | StepStatus.FAILED | StepStatus.UNKNOWN):
                self._show(step, "")
            case _:
                pass

    def _show(self, step: Step, text: str) -> None:
        if step.host not in self._tasks:
            self._tasks[step.host] = self._bars.add_task(text, host=step.host, total=None)
        self._bars.update(self._tasks[step.host], description=text)
