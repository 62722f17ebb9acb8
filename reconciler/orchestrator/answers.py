"""Defines what callers get: `(True, result)` or `(False, message)`, and never an exception.

The messages of `Answer` are those of the imperative system, to the letter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import wraps
from typing import Final, Literal, ParamSpec, TypeVar

from reconciler.errors import Limit, LimitError, Problem, ReconcilerError

P = ParamSpec("P")
T = TypeVar("T")


class Answer(StrEnum):
    """The messages that the imperative system has too."""

    USER_NOT_FOUND = "User not found"
    SLICE_NOT_FOUND = "Slice not found"
    NOT_AUTHORIZED = "Not authorized"
    INVALID_FLAVOR = "Invalid flavor"
    QUOTA_EXCEEDED = "Quota exceeded"
    POOL_EXHAUSTED = "VLAN pool exhausted"
    ALREADY_RUNNING = "Slice is already running"
    DEPLOYED = "Slice deployed successfully"
    DELETED = "Slice deleted"


_LIMITS: Final[Mapping[Limit, Answer]] = {
    Limit.QUOTA: Answer.QUOTA_EXCEEDED,
    Limit.VLAN_POOL: Answer.POOL_EXHAUSTED,
}
"""The answers to limits that the imperative system has too."""

_LOG: Final = logging.getLogger("reconciler.orchestrator")


class Refused(Exception):
    """A call is refused; the message is what the caller gets."""


def returns_answer(method: Callable[P, T]) -> Callable[P, tuple[Literal[True], T] | tuple[Literal[False], str]]:
    """Let a method return `(True, its result)`, or `(False, message)` after any error.

    Unexpected errors are logged with their traceback.
    """

    @wraps(method)
    def answering(*args: P.args, **kwargs: P.kwargs) -> tuple[Literal[True], T] | tuple[Literal[False], str]:
        try:
            return True, method(*args, **kwargs)
        except Refused as refusal:
            return False, str(refusal)
        except ReconcilerError as error:
            return False, message_of(error)
        except OSError as error:
            return False, f"{error.filename or 'a file'}: {error.strerror or error}"
        except Exception as error:  # noqa: BLE001 - callers were promised a pair after any error
            _LOG.exception("%s failed", method.__qualname__)
            return False, f"unexpected {type(error).__name__}: {error}"

    return answering


def message_of(error: ReconcilerError) -> str:
    """Return an error as one string: the imperative system's message if it has one."""
    if isinstance(error, LimitError) and error.limit in _LIMITS:
        return str(_LIMITS[error.limit])
    return "; ".join(map(_format, error.problems()))


def _format(problem: Problem) -> str:
    location = f"{problem.location}: " if problem.location else ""
    return f"{location}{problem.summary}{f' ({problem.hint})' if problem.hint else ''}"
