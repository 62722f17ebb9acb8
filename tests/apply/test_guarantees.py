"""What an apply guarantees whatever happens: fenced uploads, intent before effect, and no step on unread facts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reconciler.apply.drivers.driver import Driver
from reconciler.apply.execution.events import HostDropped
from reconciler.apply.transport.command import Operation, Upload, script
from reconciler.apply.transport.fence import Fence
from reconciler.plan.model import Step
from reconciler.plan.resources import Kind
from reconciler.plan.results import StepResult, StepStatus
from tests.apply.files import DRIVERS, Blob, File, create, file, observed_blob, parse, probe, remove_blob
from tests.apply.localhost import Localhosts
from tests.apply.test_executor import W1, W2, Notebook, World

LOCK = "admin/two-vms"


@pytest.fixture
def world(hosts: Localhosts) -> World:
    return World(hosts)


def upload_alone(blob: Blob, fact: str | None, _: Blob | None) -> tuple[Operation, ...]:
    return () if fact is not None else (Upload(blob.path, blob.sha256),)


def with_blobs(driver: Driver[Any, Any]) -> Mapping[Kind, Driver[Any, Any]]:
    return {**DRIVERS, Blob.kind: driver}


async def test_an_upload_without_a_command_before_it_is_fenced(world: World, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"image")
    digest = hashlib.sha256(b"image").hexdigest()
    world.uploads = {digest: content}
    world.drivers = with_blobs(Driver(Blob, probe, parse, upload_alone, remove_blob, observed_blob))
    world.fence = Fence("5f0e", {LOCK: 57})
    folder = world.folder(W1)
    target = folder / "blob"
    blob = Blob(address=file(folder, "blob").address, slice=None, host=W1, path=str(target), sha256=digest)

    def overtake(event: object) -> None:
        if isinstance(event, StepResult):  # the fence was written when the host was probed
            (folder / "root/fence/5f0e").write_text(f"58 {LOCK}\n")

    world.observe = overtake
    report = await world.execute(create(1, file(world.folder(W2), "first", seconds=0.3)), create(2, blob, 1))

    assert report.lock_lost is not None
    assert not target.exists()


@dataclass
class Witness(Notebook):
    """A journal that notes which files exist when the intent to create them is written."""

    too_late: list[str] = field(default_factory=list)

    async def intend(self, steps: Sequence[Step]) -> None:
        await super().intend(steps)
        self.too_late += [
            step.address
            for step in steps
            if isinstance(step.after, File) and Path(step.after.path).exists()  # noqa: ASYNC240 - a test's file
        ]


async def test_an_intent_is_written_before_its_effect(world: World) -> None:
    journal = world.journal = Witness()
    folder = world.folder(W1)

    report = await world.execute(create(1, file(folder, "a")), create(2, file(folder, "b"), 1))

    assert report.ok
    assert (folder / "a").exists()
    assert (journal.intended, journal.too_late) == ([1, 2], [])


def unreadable(blobs: Sequence[Blob]) -> Any:
    """Fail where a file `unreadable` is beside a blob."""
    return (script('for f; do [ ! -e "${f%/*}/unreadable" ] || { echo bad disk; exit 1; }; done; echo absent', *(
        blob.path for blob in blobs
    )),)  # fmt: skip


async def test_steps_whose_facts_cannot_be_read_fail_and_change_nothing(world: World) -> None:
    world.drivers = with_blobs(Driver(Blob, unreadable, parse, upload_alone, remove_blob, observed_blob))
    folder = world.folder(W1)
    (folder / "unreadable").touch()
    blob = Blob(address=file(folder, "blob").address, slice=None, host=W1, path=f"{folder}/blob", sha256="")

    report = await world.execute(create(1, blob), create(2, file(folder, "above"), 1), create(3, file(folder, "apart")))

    assert [(result.step.id, result.message) for result in report.failed] == [(1, "bad disk")]
    assert [result.step.id for result in report.skipped] == [2]
    assert [result.step.id for result in report.done] == [3]
    assert world.journal.intended == [3]


async def test_a_step_that_was_cut_short_is_unknown_where_its_facts_cannot_be_read_again(world: World) -> None:
    folder = world.folder(W1)
    make = Driver(
        Blob, unreadable, parse, lambda blob, *_: (script('touch "$1"', blob.path),), remove_blob, observed_blob
    )
    world.drivers = with_blobs(make)
    world.hosts.cuts[W1] = [None, 1]
    blob = Blob(address=file(folder, "blob").address, slice=None, host=W1, path=f"{folder}/blob", sha256="")
    world.observe = lambda event: (folder / "unreadable").touch() if isinstance(event, HostDropped) else None

    report = await world.execute(create(1, file(folder, "a")), create(2, blob))

    assert [(result.step.id, result.message) for result in report.unknown] == [(2, "bad disk")]
    assert world.journal.recorded == {1: StepStatus.DONE, 2: StepStatus.UNKNOWN}
