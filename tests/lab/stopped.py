"""Runs the command line again and again, and kills it with SIGKILL at its Nth boundary.

A boundary is before or after a write to the state, or before a batch that changes a host is sent; the write that
follows a batch is the boundary after it. The interpreter's profiler reports them, as a debugger's
breakpoints would, so that the program itself knows nothing of it.

Each run is a process of its own, forked from this one, which has loaded all that an apply needs: loading takes half of
what an apply does. Each line of input asks for one run, as JSON: the boundary (0 for none), a file for what the run
prints, its arguments. The answer is its exit code, or the signal that ended it as a negative number.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from types import CodeType, FrameType
from typing import Any, Final, NoReturn

# The profiler slows what it watches: all that an apply needs is imported before.
import deepdiff  # noqa: F401

import reconciler.apply.drivers.registry
import reconciler.apply.execution.executor
import reconciler.apply.transport.ssh
import reconciler.cli.app
import reconciler.cli.commands.apply
import reconciler.cli.progress
import reconciler.state.locks.leases
import reconciler.state.migrations
import reconciler.views.report
import reconciler.workflow  # noqa: F401
from reconciler import cli
from reconciler.apply.transport import script
from reconciler.state.sql import locks
from reconciler.state.sql.store import SqlStore

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
"""What writes to the state: a boundary before each, and one after."""

SENDS: Final = script.render.__code__
"""What writes a batch's script, just before it is sent."""


_BROKEN: Final = 70
"""The exit code of a run that ends with an exception."""


def is_boundary(event: str, code: CodeType, frame: FrameType) -> bool:
    """Return whether the program is before or after a write, or before a batch that changes something."""
    if code is SENDS:
        return event == "return" and not frame.f_locals["batch"].lock.shared
    return code in WRITES and event in {"call", "return"}


def main(number: int, arguments: Sequence[str]) -> None:
    """Run the command line up to the boundary of this number, from 1; to its end where there are fewer."""
    sys.argv = ["reconciler", *arguments]
    passed = 0

    def watch(frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal passed
        if is_boundary(event, frame.f_code, frame):
            passed += 1
            if passed == number:
                os.kill(os.getpid(), signal.SIGKILL)

    if number:
        threading.setprofile(watch)  # the state is written in worker threads
        sys.setprofile(watch)
    cli.main()


def run(number: int, output: str, arguments: Sequence[str]) -> NoReturn:
    """Be the process of one run: its output goes to a file, and it has no input."""
    os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(1, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = _BROKEN
    try:
        main(number, arguments)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:  # noqa: BLE001 - as the interpreter does, had it begun here
        traceback.print_exc()
    sys.setprofile(None)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve() -> None:
    """Do the runs that are asked for, one after the other."""
    gc.freeze()
    for line in sys.stdin:
        number, output, arguments = json.loads(line)
        pid = os.fork()
        if pid == 0:
            run(number, output, arguments)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
