"""Defines a batch of commands for one host, and the events that come back while it runs."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from reconciler.apply.transport.command import Command, Result
from reconciler.apply.transport.fence import Fence
from reconciler.plan.resources import ROOT

OUTPUT_CAP: Final = 64 * 1024
"""How much of one command's output is kept, in bytes; the host drops the rest."""

PROBE_CAP: Final = 8 * 1024 * 1024
"""How much of one probe's output is kept, in bytes. A probe reads all resources of a host; more is an error."""

CUT: Final = "\n[the rest was cut]"
"""The end of a command's output if it printed more than is kept."""


@dataclass(frozen=True, slots=True)
class Task:
    """Commands that run one after the other up to the first failure; skipped unless all tasks in `waits` succeeded.

    `waits` are numbers of tasks that come earlier in the same batch.
    """

    number: int
    commands: tuple[Command, ...]
    waits: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class OperationLock:
    """The lock on the host that one batch at a time holds; `shared` lets several readers hold it together.

    It survives a lost connection: the next batch waits at most `wait` seconds for what still runs there.
    """

    path: str = f"{ROOT}/lock"
    wait: int = 60
    shared: bool = False


NO_LOCK: Final = OperationLock(path="/dev/null", wait=1, shared=True)
"""For batches that only read and must not wait for a running batch, or run before the lock's folder exists."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Tasks for one host, which it runs under its operation lock.

    With a `fence`, the lock must be exclusive; a host that has seen a later holder of one of the fence's locks refuses
    the batch. With `failures_only`, output is read back only from commands that failed. With `since`, the host refuses
    the batch if it has run others that may change something since it had run so many: see `count_batches`.
    """

    tasks: tuple[Task, ...]
    lock: OperationLock = OperationLock()
    fence: Fence | None = None
    output_cap: int = OUTPUT_CAP
    failures_only: bool = False
    since: int | None = None

    @property
    def size(self) -> int:
        """How many commands there are."""
        return sum(len(task.commands) for task in self.tasks)


def count_batches(lock: OperationLock) -> Command:
    """Return the command that prints how many batches a host has run that may have changed something.

    Each of them adds a byte to the file of the operation lock.
    """
    return Command(("stat", "-c", "%s", "--", lock.path))


class TaskStatus(StrEnum):
    """How a task ended, as reported by the host."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """A task's first command has started."""

    number: int


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """A task has ended. `results` has one entry for each command that ran; `message` says why the task failed."""

    number: int
    status: TaskStatus
    results: tuple[Result, ...] = ()
    message: str = ""


BatchEvents = AsyncGenerator[TaskStarted | TaskEnded, None]
"""The start and the end of each task, as they happen; a skipped task only ends."""


def failure_message(command: Command, result: Result) -> str:
    """Return why a command failed: what it printed, or its status if it printed nothing."""
    if message := result.output.strip():
        return message
    return f"`{escape_controls(str(command))}` ended with status {result.status} and printed nothing"


_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_controls(text: str) -> str:
    r"""Escape characters that could control a terminal: controls except newline and tab, and bidi marks."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
