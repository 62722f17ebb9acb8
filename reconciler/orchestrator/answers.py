"""What callers get: `(True, result)` or `(False, sentence)`, never an exception; the sentences are the reference's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Final, Literal, ParamSpec, TypeVar

from reconciler.errors import LimitError, Problem, ReconcilerError

P = ParamSpec("P")
T = TypeVar("T")

USER_NOT_FOUND: Final = "User not found"
SLICE_NOT_FOUND: Final = "Slice not found"
NOT_AUTHORIZED: Final = "Not authorized"
INVALID_FLAVOR: Final = "Invalid flavor"
QUOTA_EXCEEDED: Final = "Quota exceeded"
POOL_EXHAUSTED: Final = "VLAN pool exhausted"
ALREADY_RUNNING: Final = "Slice is already running"
DEPLOYED: Final = "Slice deployed successfully"
DELETED: Final = "Slice deleted"

_LIMITS: Final = {"quota of ": QUOTA_EXCEEDED, "VLAN pool of ": POOL_EXHAUSTED}
"""What the reference says where a limit is met that it knows too, by how ours begins."""

_LOG: Final = logging.getLogger("reconciler.orchestrator")


class Refused(Exception):
    """What was called for is not done; its sentence is what the caller gets, to the letter."""


def answered(method: Callable[P, T]) -> Callable[P, tuple[Literal[True], T] | tuple[Literal[False], str]]:
    """Have a method answer `(True, what it returns)`, or `(False, why not)` whatever goes wrong.

    What nobody foresaw is logged with its traceback.
    """

    @wraps(method)
    def answering(*args: P.args, **kwargs: P.kwargs) -> tuple[Literal[True], T] | tuple[Literal[False], str]:
        try:
            return True, method(*args, **kwargs)
        except Refused as refusal:
            return False, str(refusal)
        except ReconcilerError as error:
            return False, sentence(error)
        except OSError as error:
            return False, f"{error.filename or 'a file'}: {error.strerror or error}"
        except Exception as error:  # noqa: BLE001 - callers were promised a pair, whatever happens
            _LOG.exception("%s failed", method.__qualname__)
            return False, f"unexpected {type(error).__name__}: {error}"

    return answering


def sentence(error: ReconcilerError) -> str:
    """Say what went wrong in one string: as the reference does where it has words for it."""
    if isinstance(error, LimitError):
        for start, known in _LIMITS.items():
            if error.what.startswith(start):
                return known
    return "; ".join(map(_told, error.problems()))


def _told(problem: Problem) -> str:
    where = f"{problem.location}: " if problem.location else ""
    return f"{where}{problem.summary}{f' ({problem.hint})' if problem.hint else ''}"
