"""Shows the progress of an apply on stderr: bars on a terminal (host, step, elapsed time), lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reconciler.apply.execution.events import Event, HostLost, Observer
from reconciler.cli.output import shows_bars, shows_progress
from reconciler.cli.session import Session
from reconciler.views.progress import event_line


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
    if not shows_progress(session):
        yield _silent
        return
    if not shows_bars(session):
        yield _print_lines(sys.stderr.write, verbose=session.verbose)
        return
    from reconciler.cli.bars import bars  # noqa: PLC0415 - rich: only a terminal needs it

    with bars(session) as shown:
        yield shown.observer(_print_lines(shown.write, verbose=session.verbose))


def _silent(_event: Event) -> None:
    """Show nothing, because programs read the result."""


def _print_lines(write: Callable[[str], object], *, verbose: bool) -> Observer:
    def observe(event: Event) -> None:
        if line := event_line(event, verbose=verbose):
            write(f"{line}\n")

    return observe
