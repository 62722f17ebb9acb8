"""Runs one batch on one connection and yields its events as they come; lost connections become HostUnreachable."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from reconciler.apply.transport.batch import Begun, Ended, OperationLock, Transcript, render
from reconciler.apply.transport.connection import Connection, message_of
from reconciler.apply.transport.fence import Fence
from reconciler.errors import HostError, HostUnreachable, StateLost
from reconciler.plan.snapshot import lock_label
from reconciler.spec.models.names import HostName

Nonce = Callable[[], str]
"""Gives 128 fresh random bits in hexadecimal."""

PROBE_CAP: Final = 8 * 1024 * 1024
"""What is kept of one probe's output, in bytes: it tells of all resources of a host; a longer one is an error."""


NO_LOCK: Final = OperationLock(path="/dev/null", wait=1, shared=True)
"""A host may be looked at while it is worked on, and before there is a place for its lock."""


def random_nonce() -> str:
    """Return a nonce that nothing on a host can guess."""
    return secrets.token_hex(16)


async def run_batch(
    connection: Connection,
    transcript: Transcript,
    lock: OperationLock,
    fence: Fence | None = None,
    *,
    failures_only: bool = False,
) -> AsyncGenerator[Begun | Ended, None]:
    """Send a batch and yield what its output tells, as it comes; a batch without any command is not sent.

    Raises HostUnreachable where the batch was cut short: tasks whose end was not yielded are then unknown. Any other
    HostError means that the host refused the batch as a whole and nothing was begun; so does StateLost, where the host
    has seen a later holder of one of the fence's locks.

    With `failures_only`, what succeeds is not read back: a change is judged by its status.
    """
    if not any(task.commands for task in transcript.tasks):
        for event in transcript.presume():
            yield event
        return
    text = render(
        transcript.tasks,
        nonce=transcript.nonce,
        lock=lock,
        fence=fence,
        output_cap=transcript.output_cap,
        failures_only=failures_only,
    )
    try:
        async with aclosing(connection.run(text)) as lines:
            async for line in lines:
                for event in transcript.feed(line):
                    yield event
    except HostError as error:
        if transcript.fenced is not None:
            raise _lost(connection.host, *transcript.fenced) from error
        if transcript.opened and not isinstance(error, HostUnreachable):
            raise HostUnreachable(error.host, message_of(error)) from error
        raise
    if not transcript.complete:
        raise HostUnreachable(connection.host, "its answer broke off")


def _lost(host: HostName, seen: int, name: str) -> StateLost:
    return StateLost(f"{host} has worked for a later holder of {lock_label(name)}", host=host, seen=seen)
