"""A host refuses a batch with a lower token than it has seen of a lock: shown with real shells."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from reconciler.apply.transport.batch import Batch, OperationLock, Task
from reconciler.apply.transport.command import Command
from reconciler.apply.transport.fence import Fence
from reconciler.apply.transport.script import REFUSED, Transcript, render
from reconciler.plan.results import StepResult
from reconciler.spec.models.names import Address, HostName
from tests.apply.files import Blob, create, file
from tests.apply.localhost import Localhosts
from tests.apply.test_executor import W1, W2, World

NONCE = "5f" * 16
SLICE, SHARED = "admin/two-vms", "@shared"


def perform(folder: Path, tokens: dict[str, int], shell: str = "sh", lineage: str = "5f0e") -> tuple[int, Transcript]:
    """Send a batch that makes a file, under these tokens."""
    tasks = (Task(0, (Command(("touch", str(folder / "made"))),)),)
    fence = Fence(lineage, tokens, str(folder / "fence"))
    text = render(Batch(tasks, OperationLock(str(folder / "lock")), fence), NONCE)
    done = subprocess.run([shell, "-s"], input=text, text=True, stdout=subprocess.PIPE, check=False, timeout=30)
    transcript = Transcript(tasks, NONCE)
    for line in done.stdout.splitlines():
        transcript.feed(line)
    return done.returncode, transcript


def made(folder: Path) -> bool:
    """Tell whether the batch's file is there, and take it away."""
    there = (folder / "made").exists()
    (folder / "made").unlink(missing_ok=True)
    return there


def kept(folder: Path, lineage: str = "5f0e") -> list[str]:
    return (folder / "fence" / lineage).read_text().splitlines()


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_highest_token_of_each_lock_is_kept_and_a_lower_one_refused(tmp_path: Path, shell: str) -> None:
    assert perform(tmp_path, {SLICE: 57, SHARED: 58}, shell)[0] == 0
    assert (made(tmp_path), sorted(kept(tmp_path))) == (True, [f"57 {SLICE}", f"58 {SHARED}"])
    assert perform(tmp_path, {SLICE: 57}, shell)[0] == 0, "the same holder again"
    assert perform(tmp_path, {"admin/other": 9}, shell)[0] == 0, "a slice that was not here before"
    assert perform(tmp_path, {SLICE: 60}, shell)[0] == 0
    assert made(tmp_path)
    before = kept(tmp_path)
    assert sorted(before) == [f"58 {SHARED}", f"60 {SLICE}", "9 admin/other"]
    for tokens in ({SLICE: 59}, {SLICE: 59, SHARED: 99}, {SLICE: 61, SHARED: 57}):
        status, transcript = perform(tmp_path, tokens, shell)
        assert (status, transcript.complete, transcript.missing) == (REFUSED, False, (0,))
        assert "a later holder of " in transcript.stray
        assert (made(tmp_path), kept(tmp_path)) == (False, before)
    assert perform(tmp_path, {SLICE: 59}, shell)[1].fenced == (60, SLICE)


def test_states_do_not_affect_one_another(tmp_path: Path) -> None:
    assert perform(tmp_path, {SLICE: 57})[0] == 0
    assert perform(tmp_path, {SLICE: 3}, lineage="9b41")[0] == 0
    assert (kept(tmp_path), kept(tmp_path, "9b41")) == ([f"57 {SLICE}"], [f"3 {SLICE}"])


def test_tokens_are_compared_as_numbers(tmp_path: Path) -> None:
    assert perform(tmp_path, {SLICE: 9})[0] == 0
    assert perform(tmp_path, {SLICE: 10})[0] == 0
    assert perform(tmp_path, {SLICE: 9})[0] == REFUSED


@pytest.mark.parametrize("content", ["x admin/two-vms\n", "\0\0\0\n", "-1 admin/two-vms\n"])
def test_a_damaged_fence_refuses_every_batch(tmp_path: Path, content: str) -> None:
    (tmp_path / "fence").mkdir()
    (tmp_path / "fence" / "5f0e").write_text(content)
    status, transcript = perform(tmp_path, {SLICE: 57})
    assert (status, made(tmp_path), transcript.fenced) == (REFUSED, False, None)
    assert "is damaged" in transcript.stray


def test_a_fence_that_cannot_be_written_refuses_every_batch(tmp_path: Path) -> None:
    (tmp_path / "fence").write_text("in the way")
    status, transcript = perform(tmp_path, {SLICE: 57})
    assert (status, made(tmp_path)) == (REFUSED, False)
    assert "cannot be written" in transcript.stray


def test_a_hostile_name_stays_a_name(tmp_path: Path) -> None:
    name = f"$(touch {tmp_path}/made)'; exit 0; *"
    assert perform(tmp_path, {name: 5})[1].complete
    assert kept(tmp_path) == [f"5 {name}"]
    assert perform(tmp_path, {name: 4})[0] == REFUSED


@pytest.fixture
def world(hosts: Localhosts) -> World:
    return World(hosts, fence=Fence("5f0e", {SLICE: 57}))


def seen(world: World, host: HostName, token: int) -> None:
    """Let a host have worked for the holder of a token."""
    folder = world.folder(host) / "root" / "fence"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "5f0e").write_text(f"{token} {SLICE}\n")


async def test_an_apply_stops_where_a_host_has_seen_a_later_holder(world: World) -> None:
    seen(world, W1, 58)
    one, two = file(world.folder(W1), "a"), file(world.folder(W2), "b")
    report = await world.execute(create(1, one), create(2, two, 1), create(3, file(world.folder(W1), "c")))
    assert report.lock_lost is not None
    assert (report.lock_lost.summary, report.lock_lost.seen) == (
        f"worker1 has worked for a later holder of {SLICE}",
        58,
    )
    assert [result.step.id for result in report.not_started] == [1, 2, 3]
    assert (report.ok, report.failed, report.unknown, world.log(W1), world.log(W2)) == (False, (), (), [], [])


async def test_a_batch_that_is_refused_after_the_probe_was_not_started(world: World) -> None:
    seen(world, W1, 57)
    folder = world.folder(W1)
    overtaken = file(world.folder(W2), "slow", seconds=0.3)
    steps = [create(1, overtaken), create(2, file(folder, "a"), 1)]
    world.observe = lambda event: seen(world, W1, 58) if isinstance(event, StepResult) else None
    report = await world.execute(*steps)
    assert [result.step.id for result in report.done] == [1]
    assert [result.step.id for result in report.not_started] == [2]
    assert (world.log(W1), world.journal.intended) == ([], [1, 2])


async def test_nothing_is_uploaded_after_the_lock_was_lost(world: World, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"image")
    digest = hashlib.sha256(b"image").hexdigest()
    world.uploads = {digest: content}
    seen(world, W1, 57)
    target = world.folder(W1) / "blob"
    blob = Blob(address=Address("blob/b"), slice=None, host=W1, path=str(target), sha256=digest)
    slow = file(world.folder(W2), "slow")
    world.observe = lambda event: seen(world, W1, 58) if isinstance(event, StepResult) else None
    report = await world.execute(create(1, slow), create(2, blob, 1))
    assert report.lock_lost is not None
    assert not target.exists()
    assert [ending.step.id for ending in report.unknown] == [2]
    assert world.log(W1) == []


async def test_the_fence_is_written_with_the_first_probe(world: World) -> None:
    report = await world.execute(create(1, file(world.folder(W1), "a")))
    assert report.ok
    assert (world.folder(W1) / "root" / "fence" / "5f0e").read_text() == f"57 {SLICE}\n"
    assert len(world.hosts.sent) == 2, "no round trip more"
