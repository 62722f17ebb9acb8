"""Defines every error that a user can see: code, message, location and hint.

ReconcilerError                 the base class; `code` names its entry in docs/errors.md
├── UsageError                  the command line asks for something that is not possible
├── SpecError                   the input files are wrong; carries every `Problem`, not only the first
├── PlanError                   the input files are valid, but no plan can be made
│   ├── DataLoss                VMs would lose data, and nobody asked for that
│   ├── LimitError              a pool, range, quota or capacity is exhausted
│   └── SimulationError         in the simulation, an interrupted apply was not completed by the next one
├── StateError                  the state cannot be used
│   ├── StateLocked             another process holds the lock of a slice
│   ├── StateLost               another process took over a lock that this process held
│   ├── StateMoved              the state changed after the plan was made
│   │   └── NumbersTaken        only because others were given numbers of the plan
│   ├── StateBehind             hosts have seen later applies of the state: it is an older copy
│   └── StateUnreadable         the state is damaged, of a newer schema, or of another lineage
├── HostError                   a host could not do its part
│   ├── HostUnknown             the state names a host that the cluster file does not have
│   ├── HostOwned               the host belongs to another state
│   ├── HostUnreachable         no connection: refused, timed out, or lost half-way
│   ├── HostKeyRejected         the host key is unknown or has changed
│   ├── LoginRejected           the host accepts none of our keys
│   └── ForeignObject           an object that is not ours is in the way
├── PlanFileError               a saved plan is damaged, stale, or made by another version
├── SiteError                   a Git hosting site did not do what it was asked
│   ├── SiteRefused             it answered with an error, and nothing was done
│   └── SiteUnanswered          no usable answer, so it is unknown whether it was done
├── FileWriteError              a file cannot be written; the old one, if any, is unchanged
└── LabError                    the lab cannot be set up, or does not exist
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Stable codes of all errors; each has an entry in docs/errors.md."""

    USAGE = "usage"
    FILE_UNREADABLE = "file-unreadable"
    FILE_UNWRITABLE = "file-unwritable"
    YAML_SYNTAX = "yaml-syntax"
    YAML_FEATURE = "yaml-feature"
    DUPLICATE_KEY = "duplicate-key"
    UNKNOWN_KEY = "unknown-key"
    MISSING_KEY = "missing-key"
    WRONG_TYPE = "wrong-type"
    WRONG_VALUE = "wrong-value"
    BAD_NAME = "bad-name"
    UNKNOWN_NAME = "unknown-name"
    OWNER = "owner"
    DUPLICATE_NAME = "duplicate-name"
    CONFUSABLE_NAME = "confusable-name"
    RENAME = "rename"
    LINK_TO_ITSELF = "link-to-itself"
    INTERFACE_IN_USE = "interface-in-use"
    INTERFACE_MISSING = "interface-missing"
    SUBNET_OVERLAP = "subnet-overlap"
    NOT_YET = "not-yet"
    IMAGE = "image"
    LIMIT = "limit"
    PLAN = "plan"
    DATA_LOSS = "data-loss"
    SIMULATION = "rehearsal"  # the value is public, so it keeps the name of the option
    PLAN_FILE = "plan-file"
    STATE = "state"
    STATE_LOCKED = "state-locked"
    STATE_LOST = "state-lost"
    STATE_MOVED = "state-moved"
    STATE_BEHIND = "state-behind"
    STATE_UNREADABLE = "state-unreadable"
    HOST = "host"
    HOST_UNKNOWN = "host-unknown"
    HOST_OWNED = "host-owned"
    HOST_UNREACHABLE = "host-unreachable"
    HOST_KEY = "host-key"
    LOGIN = "login"
    FOREIGN_OBJECT = "foreign-object"
    LAB = "lab"
    SITE = "site"


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A position in a file; line and column count from 1, as in editors."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        """Return `file:line:column`, which terminals and editors recognise as a link."""
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the input files: code, message, location and hint.

    `summary` is the message. `excerpt` is the line of the file as written, without its newline, or None.
    """

    code: Code
    summary: str
    location: Location | None = None
    hint: str | None = None
    excerpt: str | None = None


class ReconcilerError(Exception):
    """The base class: a message for the user (`summary`), an optional hint, and a documented code."""

    code: Code = Code.PLAN

    def __init__(self, summary: str, *, hint: str | None = None, code: Code | None = None) -> None:
        super().__init__(summary)
        self.summary = summary
        self.hint = hint
        if code is not None:
            self.code = code

    def problems(self) -> tuple[Problem, ...]:
        """Return what is wrong as data, one entry for each thing to fix."""
        return (Problem(code=self.code, summary=self.summary, hint=self.hint),)


class UsageError(ReconcilerError):
    """The command line asks for something that is not possible."""

    code = Code.USAGE


class SpecError(ReconcilerError):
    """The input files are wrong; `found` holds every problem, sorted by location."""

    code = Code.WRONG_VALUE

    def __init__(self, found: Sequence[Problem]) -> None:
        self.found = tuple(sorted(found, key=_by_location))
        super().__init__(f"problems in the files: {len(self.found)}")

    def problems(self) -> tuple[Problem, ...]:
        """Return every problem of every file."""
        return self.found


class PlanError(ReconcilerError):
    """The input files are valid, but no plan can be made from them."""

    code = Code.PLAN


class DataLoss(PlanError):
    """VMs would lose data although nobody asked to delete it, and nobody accepted that."""

    code = Code.DATA_LOSS


class Limit(StrEnum):
    """The limits that a plan can reach."""

    QUOTA = "quota"
    CAPACITY = "capacity"
    VLAN_POOL = "VLAN pool of a slice"
    VLAN_RANGE = "VLAN range of the cluster"
    VM_IDS = "VM ids"
    VNC_PORTS = "VNC ports of a worker"
    INTERNET_ADDRESSES = "addresses of the internet VLAN"
    LINK_SUBNETS = "subnets for links"


class LimitError(PlanError):
    """The limit `limit` is reached; the message names what is exhausted, and gives maximum, used, asked and free."""

    code = Code.LIMIT

    def __init__(  # noqa: PLR0913 - the numbers of the message, each given by name
        self,
        limit: Limit,
        what: str,
        *,
        maximum: int,
        used: int,
        asked: int,
        hint: str | None = None,
        show: Callable[[int], str] = str,
    ) -> None:
        self.limit, self.what = limit, what
        self.maximum, self.used, self.asked, self.free = maximum, used, asked, max(maximum - used, 0)
        numbers = f"limit {show(maximum)}, used {show(used)}, asked {show(asked)}, free {show(self.free)}"
        super().__init__(f"{what} exhausted: {numbers}", hint=hint)


class SimulationError(PlanError):
    """In the simulation, an interrupted apply was not completed by the next one; the message says where."""

    code = Code.SIMULATION


class StateError(ReconcilerError):
    """The state cannot be used as requested."""

    code = Code.STATE


class StateLocked(StateError):
    """Another process holds the lock of a slice."""

    code = Code.STATE_LOCKED


class StateLost(StateError):
    """Another process took over a lock that this process held; it may no longer change the state or any host.

    `host` is the host that refused a batch because it knows the newer token `seen`; None if the state refused.
    """

    code = Code.STATE_LOST

    def __init__(self, summary: str, *, hint: str | None = None, host: str | None = None, seen: int = 0) -> None:
        super().__init__(summary, hint=hint)
        self.host = host
        self.seen = seen


class StateMoved(StateError):
    """The state changed after the plan was made."""

    code = Code.STATE_MOVED


class NumbersTaken(StateMoved):
    """Other applies were given numbers of this plan; with new numbers it would do the same work."""


class StateBehind(StateError):
    """Hosts have seen later applies of this state: it was restored from an older copy, or two copies are in use."""

    code = Code.STATE_BEHIND


class StateUnreadable(StateError):
    """The state is damaged, of a newer schema, or of another lineage; it is never treated as empty."""

    code = Code.STATE_UNREADABLE


class HostError(ReconcilerError):
    """A host could not do its part; `host` is its name in the cluster file."""

    code = Code.HOST

    def __init__(self, host: str, summary: str, *, hint: str | None = None) -> None:
        super().__init__(f"{host}: {summary}", hint=hint)
        self.host = host


class HostUnreachable(HostError):
    """No connection: refused, timed out, or lost half-way; if lost, the result of running commands is unknown."""

    code = Code.HOST_UNREACHABLE


class HostUnknown(HostError):
    """The state names a host that the cluster file does not have."""

    code = Code.HOST_UNKNOWN

    def __init__(self, host: str) -> None:
        super().__init__(
            host,
            "it is not in the cluster file",
            hint=f"add it again, or remove what is on it from the state: reconciler forget {host}",
        )


class HostOwned(HostError):
    """The host belongs to another state; nothing was done."""

    code = Code.HOST_OWNED

    def __init__(self, host: str, summary: str) -> None:
        super().__init__(
            host, summary, hint="work with that state, or take over what is on the host: reconciler state rebuild"
        )


class HostMoved(HostError):
    """Another batch has changed something on the host since facts were read there; nothing was done."""


class HostKeyRejected(HostError):
    """The host key is unknown or has changed; nothing was sent."""

    code = Code.HOST_KEY


class LoginRejected(HostError):
    """The host accepts none of our keys."""

    code = Code.LOGIN


class ForeignObject(HostError):
    """An object that is not ours is in the way; it was not changed."""

    code = Code.FOREIGN_OBJECT


class PlanFileError(ReconcilerError):
    """A saved plan is damaged, stale, or made by another version."""

    code = Code.PLAN_FILE


class FileWriteError(ReconcilerError):
    """A file cannot be written; the old one, if any, is unchanged."""

    code = Code.FILE_UNWRITABLE


class LabError(ReconcilerError):
    """The lab cannot be set up, or does not exist."""

    code = Code.LAB


class SiteError(ReconcilerError):
    """A Git hosting site, such as GitHub or GitLab, did not do what it was asked."""

    code = Code.SITE


class SiteRefused(SiteError):
    """The site answered with the HTTP status `status`, and nothing was done."""

    def __init__(self, summary: str, *, status: int, hint: str | None = None) -> None:
        super().__init__(summary, hint=hint)
        self.status = status


class SiteUnanswered(SiteError):
    """There was no usable answer: no connection, a timeout, or a fault of the site; it is unknown what was done."""


def _by_location(problem: Problem) -> tuple[str, int, int, str]:
    location = problem.location or Location("")
    return (location.file, location.line, location.column, problem.summary)
