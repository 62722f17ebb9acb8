"""Runs the command line as installed, and ends it with SIGKILL at its Nth boundary; the tests count the boundaries.

A boundary is the moment before or after a write to the record, and the moment before a batch that changes a host is
sent: the write that follows a batch is the boundary after it. The interpreter's profiler tells of them, as a debugger's
breakpoints would, so that the program itself knows nothing of it. Called as `stopped.py N VERB...`; it prints nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from types import CodeType, FrameType
from typing import Any, Final

# The profiler slows what it watches: all that an apply needs is imported before.
import reconciler.apply.drivers.table
import reconciler.apply.executor
import reconciler.apply.ssh
import reconciler.cli.app
import reconciler.cli.planning
import reconciler.cli.progress
import reconciler.workflow  # noqa: F401
from reconciler import cli
from reconciler.apply import batch
from reconciler.state import locks
from reconciler.state.sql import SqlStore

WRITES: Final = frozenset(
    function.__code__
    for function in (
        locks.take,
        SqlStore.begin,
        SqlStore.intend,
        SqlStore.record,
        SqlStore.finish,
        locks.release,
    )
)
"""What writes to the record: a boundary before each, and one after."""

SENDS: Final = batch.render.__code__
"""What writes a batch's script, just before it is sent."""


def is_boundary(event: str, code: CodeType, frame: FrameType) -> bool:
    """Tell whether the program stands before or after a write, or before a batch that changes something."""
    if code is SENDS:
        lock = frame.f_locals["lock"]
        return event == "return" and not (lock is not None and lock.shared)
    return code in WRITES and event in {"call", "return"}


def main(number: int) -> None:
    """Run the command line up to the boundary of this number, from 1; to its end where there are fewer."""
    passed = 0

    def watch(frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal passed
        if is_boundary(event, frame.f_code, frame):
            passed += 1
            if passed == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(watch)
    cli.main()


if __name__ == "__main__":
    wanted = int(sys.argv.pop(1))
    main(wanted)
