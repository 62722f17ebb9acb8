"""Shows the progress of an apply on stderr: bars on a terminal (host, step, elapsed time), lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
from reconciler.cli.output import shows_bars
from reconciler.cli.session import Session
from reconciler.plan.model import Action, Step
from reconciler.plan.results import StepResult, StepStatus

_PAST = {Action.CREATE: "created", Action.UPDATE: "changed", Action.DELETE: "deleted", Action.REPLACE: "replaced"}


@contextmanager
def progress(session: Session, hosts_lost: list[HostLost]) -> Iterator[Observer]:
    """Yield an observer that shows events, and adds the hosts that are given up to `hosts_lost`.

    Nothing is shown before the first event, because a question may come first.
    """
    with _shown(session) as show:

        def observer(event: Event) -> None:
            if isinstance(event, HostLost):
                hosts_lost.append(event)
            show(event)

        yield observer


@contextmanager
def _shown(session: Session) -> Iterator[Observer]:
    if session.json:
        yield _silent
        return
    if not shows_bars(sys.stderr):
        yield _print_lines(sys.stderr.write, verbose=session.verbose)
        return
    from reconciler.cli.bars import bars  # noqa: PLC0415 - rich: only a terminal needs it

    with bars(session) as shown:
        yield shown.observer(_print_lines(shown.write, verbose=session.verbose))


def _silent(_event: Event) -> None:
    """Show nothing, because programs read the result."""


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
    return next(iter(message.strip().splitlines()), "no reason given")
