"""The one error tree: what went wrong, where, and what to do; printing is left to the front end.

ReconcilerError                 anything a user may be shown; `code` names it in docs/errors.md
├── UsageError                  the command line asks for something that cannot be
├── SpecError                   the files are wrong; carries every `Problem`, never just the first
├── PlanError                   the files are right, but no plan can be made
│   ├── DataLoss                a plan would put empty disks in the place of lost ones, and nobody agreed to that
│   ├── LimitError              a pool, range, quota or capacity is exhausted
│   └── RehearsalError          an apply of a plan, stopped on the model of the hosts, is not completed by the next
├── StateError                  the recorded state cannot be used
│   ├── StateLocked             another process holds the lock of a slice
│   ├── StateLost               another has taken over a lock that was held here
│   ├── StateMoved              the record has changed since the plan was made
│   └── StateUnreadable         damaged, of a newer schema, or of another lineage
├── HostError                   a host could not do its part
│   ├── HostUnreachable         no connection: refused, timed out, or lost half-way
│   ├── HostKeyRejected         the host key is unknown or has changed
│   ├── LoginRejected           the host accepts none of our keys
│   └── ForeignObject           something that is not ours is in the way
├── PlanFileError               a saved plan is damaged, stale, or made by another version
└── LabError                    the lab cannot be set up, or is not there
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Stable names of everything that can go wrong; each has an entry in docs/errors.md."""

    USAGE = "usage"
    FILE_UNREADABLE = "file-unreadable"
    YAML_SYNTAX = "yaml-syntax"
    YAML_FEATURE = "yaml-feature"
    DUPLICATE_KEY = "duplicate-key"
    UNKNOWN_KEY = "unknown-key"
    MISSING_KEY = "missing-key"
    WRONG_TYPE = "wrong-type"
    WRONG_VALUE = "wrong-value"
    BAD_NAME = "bad-name"
    UNKNOWN_NAME = "unknown-name"
    DUPLICATE_NAME = "duplicate-name"
    CONFUSABLE_NAME = "confusable-name"
    LINK_TO_ITSELF = "link-to-itself"
    INTERFACE_IN_USE = "interface-in-use"
    INTERFACE_MISSING = "interface-missing"
    SUBNET_OVERLAP = "subnet-overlap"
    NOT_YET = "not-yet"
    LIMIT = "limit"
    PLAN = "plan"
    DATA_LOSS = "data-loss"
    REHEARSAL = "rehearsal"
    PLAN_FILE = "plan-file"
    STATE = "state"
    STATE_LOCKED = "state-locked"
    STATE_LOST = "state-lost"
    STATE_MOVED = "state-moved"
    STATE_UNREADABLE = "state-unreadable"
    HOST = "host"
    HOST_UNREACHABLE = "host-unreachable"
    HOST_KEY = "host-key"
    LOGIN = "login"
    FOREIGN_OBJECT = "foreign-object"
    LAB = "lab"


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a file; line and column count from 1, as editors do."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        """Write it as compilers do, so that terminals and editors can jump there."""
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the files: a sentence, where it is, and what to do about it.

    `excerpt` is the offending line as written, without its newline, or None where there is none to show.
    """

    code: Code
    summary: str
    location: Location | None = None
    hint: str | None = None
    excerpt: str | None = None


class ReconcilerError(Exception):
    """The root: a sentence for the user, an optional hint, and the code that the documentation explains."""

    code: Code = Code.PLAN

    def __init__(self, summary: str, *, hint: str | None = None, code: Code | None = None) -> None:
        super().__init__(summary)
        self.summary = summary
        self.hint = hint
        if code is not None:
            self.code = code

    def problems(self) -> tuple[Problem, ...]:
        """Return what went wrong as data, one entry for each thing to mend."""
        return (Problem(code=self.code, summary=self.summary, hint=self.hint),)


class UsageError(ReconcilerError):
    """The command line asks for something that cannot be."""

    code = Code.USAGE


class SpecError(ReconcilerError):
    """The files are wrong; `found` holds every problem, sorted by place."""

    code = Code.WRONG_VALUE

    def __init__(self, found: Sequence[Problem]) -> None:
        self.found = tuple(sorted(found, key=_by_place))
        count = len(self.found)
        super().__init__(f"{count} problem{'' if count == 1 else 's'} in the files")

    def problems(self) -> tuple[Problem, ...]:
        """Return every problem of every file."""
        return self.found


class PlanError(ReconcilerError):
    """The files are right, but no plan can be made from them."""

    code = Code.PLAN


class DataLoss(PlanError):
    """A plan would put new, empty disks in the place of lost ones, and nobody agreed to that."""

    code = Code.DATA_LOSS


class LimitError(PlanError):
    """A pool, range, quota or capacity, named by `what`, is exhausted; the sentence tells limit, used, asked, free."""

    code = Code.LIMIT

    def __init__(
        self,
        what: str,
        *,
        limit: int,
        used: int,
        asked: int,
        hint: str | None = None,
        show: Callable[[int], str] = str,
    ) -> None:
        self.what = what
        self.limit, self.used, self.asked, self.free = limit, used, asked, max(limit - used, 0)
        numbers = f"limit {show(limit)}, used {show(used)}, asked {show(asked)}, free {show(self.free)}"
        super().__init__(f"{what} exhausted: {numbers}", hint=hint)


class SimulationError(PlanError):
    """An apply of a plan, stopped on the model of the hosts, is not completed by the next; the sentence says where."""

    code = Code.REHEARSAL


class StateError(ReconcilerError):
    """The recorded state cannot be used as asked."""

    code = Code.STATE


class StateLocked(StateError):
    """Another process holds the lock of a slice."""

    code = Code.STATE_LOCKED


class StateLost(StateError):
    """A lock that was held here is another's now: nothing more may be changed, neither in the record nor on hosts.

    `host` is the host that said so, having seen the token `seen` of a later holder; None where the record did.
    """

    code = Code.STATE_LOST

    def __init__(self, summary: str, *, hint: str | None = None, host: str | None = None, seen: int = 0) -> None:
        super().__init__(summary, hint=hint)
        self.host = host
        self.seen = seen


class StateMoved(StateError):
    """The record has changed since the plan was made."""

    code = Code.STATE_MOVED


class StateUnreadable(StateError):
    """The record is damaged, of a newer schema, or of another lineage; it is never read as empty."""

    code = Code.STATE_UNREADABLE


class HostError(ReconcilerError):
    """A host could not do its part; `host` is its name in the cluster file."""

    code = Code.HOST

    def __init__(self, host: str, summary: str, *, hint: str | None = None) -> None:
        super().__init__(f"{host}: {summary}", hint=hint)
        self.host = host


class HostUnreachable(HostError):
    """No connection: refused, timed out, or lost half-way, so what ran there is unknown."""

    code = Code.HOST_UNREACHABLE


class HostKeyRejected(HostError):
    """The host key is unknown or has changed; nothing was sent."""

    code = Code.HOST_KEY


class LoginRejected(HostError):
    """The host accepts none of our keys."""

    code = Code.LOGIN


class ForeignObject(HostError):
    """Something that is not ours stands where ours would be; it was left alone."""

    code = Code.FOREIGN_OBJECT


class PlanFileError(ReconcilerError):
    """A saved plan is damaged, stale, or made by another version."""

    code = Code.PLAN_FILE


class LabError(ReconcilerError):
    """The lab cannot be set up, or is not there."""

    code = Code.LAB


def _by_place(problem: Problem) -> tuple[str, int, int, str]:
    place = problem.location or Location("")
    return (place.file, place.line, place.column, problem.summary)
