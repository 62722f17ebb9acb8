"""Performs jobs on one host once: copies their files, runs the rest in one batch, and reports each result."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, assert_never

from reconciler.apply.execution.events import UploadProgress
from reconciler.apply.execution.tracker import StepTracker
from reconciler.apply.transport.batch import Batch, BatchEvents, Task, TaskEnded, TaskStarted, TaskStatus
from reconciler.apply.transport.command import Command, Operation, PrivateUpload, RemoteFile, Transfer, Upload
from reconciler.apply.transport.connection import Connection, Connector, Progress, message_of, run_batch
from reconciler.apply.transport.fence import Fence
from reconciler.errors import HostError, HostMoved, HostUnreachable, StateLost
from reconciler.plan.model import Step
from reconciler.spec.models.names import Address

_NOTHING: Final = Command(("true",))


@dataclass(frozen=True, slots=True)
class Job:
    """A step and its operations, computed from the facts."""

    step: Step
    operations: tuple[Operation, ...]

    @property
    def uploads(self) -> bool:
        """Whether a file must be copied for the step."""
        return bool(self.operations) and _upload_among(self.operations)

    @property
    def commands(self) -> tuple[Command, ...]:
        """The commands among the operations."""
        return tuple(operation for operation in self.operations if isinstance(operation, Command))


Private = Mapping[Address, Callable[[], bytes]]
"""Functions that make the secret content of resources; called when it is copied, and the result is not kept."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What can be copied to hosts: files by SHA-256, private contents by resource, and files of other hosts."""

    uploads: Mapping[str, Path | RemoteFile]
    private: Private
    connector: Connector


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt on one host; `fence` is sent with every change."""

    connection: Connection
    tracker: StepTracker
    contents: Contents
    fence: Fence | None = None

    async def perform(self, jobs: Sequence[Job], since: int | None = None) -> None:
        """Perform jobs in order; raises HostUnreachable if that was cut short: jobs without a result are unknown.

        Raises StateLost if the host has seen a later holder; the steps of a batch that it refused wait again. Raises
        HostMoved, and has done nothing, if the host has run others since it had run `since` batches. Files are copied
        before the batch, so a job with an upload must not need another job here.
        """
        if since is not None and any(job.uploads for job in jobs):
            await self._run_alone((), since)
            since = None
        for job in jobs:
            if not job.operations:
                self.tracker.adopt(job.step)
        ready = [job for job in [await self._uploaded(job) for job in jobs] if job is not None]
        steps = {job.step.id: job.step for job in ready}
        tasks = [
            Task(job.step.id, job.commands, tuple(need for need in job.step.needs if need in steps)) for job in ready
        ]
        try:
            await self._run(tasks, {int(number): step for number, step in steps.items()}, since)
        except (HostUnreachable, HostMoved):
            raise
        except StateLost as error:
            if error.host is not None:
                self.tracker.put_back(steps.values())
            raise
        except HostError as error:
            for step in steps.values():
                self.tracker.failed(step, message_of(error))
        finally:
            await self.tracker.write()

    async def _run(self, tasks: Sequence[Task], steps: Mapping[int, Step], since: int | None) -> None:
        async with aclosing(self._send(tasks, since)) as events:
            async for event in events:
                if isinstance(event, TaskStarted):
                    self.tracker.begin(steps[event.number])
                else:
                    self._note(steps[event.number], event)
                    if self.tracker.full:
                        await self.tracker.write()

    def _send(self, tasks: Sequence[Task], since: int | None = None) -> BatchEvents:
        batch = Batch(tuple(tasks), fence=self.fence, failures_only=True, since=since)
        return run_batch(self.connection, batch)

    def _note(self, step: Step, ended: TaskEnded) -> None:
        match ended.status:
            case TaskStatus.DONE:
                self.tracker.done(step)
            case TaskStatus.FAILED:
                self.tracker.failed(step, ended.message)
            case TaskStatus.SKIPPED:
                pass  # the tracker has reported it with the failure that it follows from
            case _:
                assert_never(ended.status)

    async def _uploaded(self, job: Job) -> Job | None:
        """Perform a job up to its last upload, and return what is left of it; None if that failed."""
        if not job.uploads:
            return job
        self.tracker.begin(job.step)
        left = list(job.operations)
        before: list[Command] = []
        try:
            while _upload_among(left):
                match left.pop(0):
                    case Command() as command:
                        before.append(command)
                    case upload:
                        await self._run_alone(before or self._fence_check())
                        before.clear()
                        await self._put(job.step, upload)
        except HostUnreachable:
            raise
        except HostError as error:
            self.tracker.failed(job.step, message_of(error))
            return None
        return Job(job.step, tuple(left))

    def _fence_check(self) -> Sequence[Command]:
        """Return a command for a batch that only checks the fence, which must be done before every upload."""
        return [] if self.fence is None else [_NOTHING]

    async def _run_alone(self, commands: Sequence[Command], since: int | None = None) -> None:
        """Run commands as a batch of their own; raises HostError if one fails."""
        async with aclosing(self._send([Task(0, tuple(commands))], since)) as events:
            async for event in events:
                if isinstance(event, TaskEnded) and event.status is not TaskStatus.DONE:
                    raise HostError(self.connection.host, event.message)

    async def _put(self, step: Step, upload: Upload | PrivateUpload | Transfer) -> None:
        match upload:
            case Upload():
                await self._put_file(step, upload)
            case Transfer():
                await self._put_remote(step, upload.source, upload.path, private=True)
            case PrivateUpload():
                await self._put_private(upload)
            case _:
                assert_never(upload)

    async def _put_private(self, upload: PrivateUpload) -> None:
        """Make secret content and copy it; raises HostError if it cannot be made."""
        make = self.contents.private.get(upload.address)
        if make is None:
            raise HostError(self.connection.host, f"{upload.address} cannot be made: its user-data is missing")
        await self.connection.put(await asyncio.to_thread(make), upload.path, private=True)

    async def _put_remote(self, step: Step, source: RemoteFile, path: str, *, private: bool) -> None:
        """Copy a file of another host, through this machine; raises HostError if that host is what failed."""
        try:
            connection = await self.contents.connector.connect(source.host)
            async with connection.get(source.path) as content:
                await self.connection.put(content, path, self._progress(step), private=private)
        except HostError as error:
            if error.host == self.connection.host:
                raise
            raise HostError(self.connection.host, f"{source.path} on {error.summary}", hint=error.hint) from error

    def _progress(self, step: Step) -> Progress:
        return lambda sent, size: self.tracker.observer(UploadProgress(step, sent, size))

    async def _put_file(self, step: Step, upload: Upload) -> None:
        """Copy a file with the required SHA-256, from another host if need be; raises HostError if there is none.

        The driver checks what has arrived.
        """
        host = self.connection.host
        source = self.contents.uploads.get(upload.sha256)
        if source is None:
            raise HostError(host, f"there is no local file for {upload.path} (sha256 {upload.sha256})")
        if isinstance(source, RemoteFile):
            await self._put_remote(step, source, upload.path, private=False)
            return
        try:
            digest = await asyncio.to_thread(_sha256, source)
            if digest != upload.sha256:
                raise HostError(host, f"{source} has sha256 {digest}, but {upload.sha256} is required")
            await self.connection.put(source, upload.path, self._progress(step))
        except OSError as error:
            raise HostError(host, f"{source} cannot be read: {error.strerror or error}") from error


def _upload_among(operations: Sequence[Operation]) -> bool:
    return any(not isinstance(operation, Command) for operation in operations)


def _sha256(source: Path) -> str:
    with source.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
