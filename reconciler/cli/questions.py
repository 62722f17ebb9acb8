"""Asks for approval on the terminal, outside any event loop."""

from __future__ import annotations

import os
import select
import signal
import sys

from typer import Abort

from reconciler.errors import UsageError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a command: Ctrl-C, a request to terminate, and a terminal that hangs up."""


def handled() -> tuple[signal.Signals, ...]:
    """Return the signals to handle: a hangup only if it is not ignored, as under nohup."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(number for number in SIGNALS if number is not signal.SIGHUP or not ignored)


def require_approval(*, auto_approve: bool, hint: str) -> None:
    """Raise UsageError if an approval is needed and there is no terminal to ask on."""
    if not auto_approve and not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on, so nothing was changed", hint=hint)


def approved(question: str, *, auto_approve: bool) -> bool:
    """Ask, unless that is not needed; raises UsageError if there is no terminal."""
    if auto_approve:
        return True
    require_approval(auto_approve=False, hint="add --auto-approve to continue without a question")
    if confirm(question):
        return True
    sys.stderr.write("Nothing was changed.\n")
    return False


def confirm(question: str) -> bool:
    """Ask on the terminal; no answer, or the end of input, is a no. Raises Abort at Ctrl-C."""
    while True:
        answer = _ask(f"{question} [y/N]: ")
        if not answer:
            sys.stderr.write("\n")
        match answer.strip().lower():
            case "y" | "yes":
                return True
            case "" | "n" | "no":
                return False
            case _:
                sys.stderr.write("Answer y or n.\n")


def _ask(question: str) -> str:
    """Write a question to standard error and read the line that answers it; "" at the end of input.

    Ctrl-C raises Abort. A signal just before `read` begins to wait would not wake it, and would be handled only after
    the next line. So signals also write to a pipe here, and the wait is for the pipe and the terminal.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    woken = signal.set_wakeup_fd(writing)
    handlers = {number: signal.signal(number, signal.default_int_handler) for number in handled()}
    try:
        sys.stderr.write(question)
        sys.stderr.flush()
        select.select([sys.stdin, reading], [], [])
        return sys.stdin.readline()
    except KeyboardInterrupt:
        raise Abort from None
    except OSError:  # the terminal is gone
        return ""
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        os.close(reading)
        os.close(writing)
