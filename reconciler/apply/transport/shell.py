"""Runs a batch in the root shell of a host, as a script."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol

from reconciler.apply.transport.batch import Batch, BatchEvents
from reconciler.apply.transport.connection import message_of
from reconciler.apply.transport.script import Transcript, render
from reconciler.errors import HostError, HostMoved, HostOwned, HostUnreachable, StateLost
from reconciler.plan.snapshot import lock_label
from reconciler.spec.models.names import HostName

Nonce = Callable[[], str]
"""Returns 128 fresh random bits in hexadecimal."""


class Shell(Protocol):
    """The root shell of one host."""

    @property
    def host(self) -> HostName:
        """The host's name in the cluster file."""
        ...

    def run_script(self, text: str) -> AsyncGenerator[str, None]:
        """Feed a script to the shell and yield its output line by line, without newlines.

        The iterator ends when the shell has exited with status 0. Raises HostError with the last line of output if the
        status is another, HostUnreachable if the connection is lost.
        """
        ...


def random_nonce() -> str:
    """Return a nonce that nothing on a host can guess."""
    return secrets.token_hex(16)


async def run_in_shell(shell: Shell, batch: Batch, nonce: Nonce = random_nonce) -> BatchEvents:
    """Send a batch as a script, and yield the events that its output reports; raises as `Connection.run` does."""
    mark = nonce()
    transcript = Transcript(batch.tasks, mark, batch.output_cap)
    try:
        async with aclosing(shell.run_script(render(batch, mark))) as lines:
            async for line in lines:
                for event in transcript.feed(line):
                    yield event
    except HostError as error:
        if transcript.fenced is not None:
            raise _lock_lost(shell.host, *transcript.fenced) from error
        if transcript.owned and not isinstance(error, HostUnreachable):
            raise HostOwned(shell.host, message_of(error)) from error
        if transcript.moved and not isinstance(error, HostUnreachable):
            raise HostMoved(shell.host, message_of(error)) from error
        if transcript.opened and not isinstance(error, HostUnreachable):
            raise HostUnreachable(error.host, message_of(error)) from error
        raise
    if not transcript.complete:
        raise HostUnreachable(shell.host, "its output ended too early")


def _lock_lost(host: HostName, seen: int, name: str) -> StateLost:
    return StateLost(f"{host} has worked for a later holder of {lock_label(name)}", host=host, seen=seen)
