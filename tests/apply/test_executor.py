"""Steps are performed on real shells: order, batches, failures, lost connections, stops, uploads."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import pytest

from reconciler.apply.execution.events import ApplyReport, Event, Finished, HostDropped, HostLost, StepStarted
from reconciler.apply.execution.executor import execute
from reconciler.apply.observation.observe import Drivers, KnownFacts
from reconciler.apply.transport.claim import Claim
from reconciler.apply.transport.fence import Fence
from reconciler.plan.model import Step
from reconciler.plan.results import StepResult, StepStatus
from reconciler.spec.models.names import HostName
from tests.apply.files import DRIVERS, FOREIGN, Blob, create, delete, file, update
from tests.apply.localhost import Localhosts

W1, W2, W3 = HostName("worker1"), HostName("worker2"), HostName("worker3")


@dataclass
class Notebook:
    """A journal in memory; `full` makes it fail as a full disk would."""

    intended: list[int] = field(default_factory=list)
    groups: list[list[tuple[int, StepStatus, str]]] = field(default_factory=list)
    full: bool = False

    async def intend(self, steps: Sequence[Step]) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.intended += [step.id for step in steps]

    async def record(self, results: Sequence[StepResult]) -> None:
        self.groups.append([(result.step.id, result.status, result.message) for result in results])

    @property
    def recorded(self) -> dict[int, StepStatus]:
        return {number: status for group in self.groups for number, status, _ in group}


@dataclass
class World:
    """Hosts, a journal, and what observers were told."""

    hosts: Localhosts
    journal: Notebook = field(default_factory=Notebook)
    events: list[Event] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    uploads: dict[str, Path] = field(default_factory=dict)
    parallelism: int = 8
    fence: Fence | None = None
    drivers: Drivers = field(default_factory=lambda: DRIVERS)
    claims: dict[HostName, Claim] = field(default_factory=dict)
    known: dict[HostName, KnownFacts] = field(default_factory=dict)
    observe: Callable[[Event], None] = field(default=lambda _: None)

    def folder(self, host: HostName) -> Path:
        return self.hosts.folder(host)

    def log(self, host: HostName) -> list[str]:
        log = self.folder(host) / "log"
        return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []

    async def execute(self, *steps: Step) -> ApplyReport:
        return await execute(
            steps,
            connector=self.hosts,
            journal=self.journal,
            drivers=self.drivers,
            uploads=self.uploads,
            parallelism=self.parallelism,
            observer=self.note,
            stop=self.stop,
            monotonic=monotonic,
            fence=self.fence,
            claims=self.claims,
            known=self.known,
        )

    def note(self, event: Event) -> None:
        self.events.append(event)
        self.observe(event)

    def told(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def world(hosts: Localhosts) -> World:
    return World(hosts)


def numbers(results: Sequence[StepResult]) -> list[int]:
    return [result.step.id for result in results]


async def test_a_chain_on_one_host_takes_one_probe_and_one_batch(world: World) -> None:
    folder = world.folder(W1)
    chain = [create(n, file(folder, f"f{n}"), *([n - 1] if n > 1 else [])) for n in range(1, 31)]

    report = await world.execute(*reversed(chain))

    assert report.ok
    assert world.log(W1) == [f"file/f{n}" for n in range(1, 31)]
    assert (len(world.hosts.probes(W1)), len(world.hosts.batches(W1))) == (1, 1)
    assert world.journal.intended == list(range(1, 31))
    assert world.journal.recorded == dict.fromkeys(range(1, 31), StepStatus.DONE)
    assert isinstance(world.events[-1], Finished)


async def test_a_second_run_has_nothing_to_do_and_sends_only_a_probe(world: World) -> None:
    steps = [create(n, file(world.folder(W1), f"f{n}")) for n in (1, 2, 3)]
    await world.execute(*steps)
    world.hosts.sent.clear()

    report = await world.execute(*steps)

    assert report.ok
    assert (len(world.hosts.probes(W1)), len(world.hosts.batches(W1))) == (1, 0)


async def test_a_step_waits_for_its_need_on_another_host(world: World) -> None:
    slow = create(1, file(world.folder(W1), "base", seconds=0.2))
    free = create(2, file(world.folder(W2), "free"))
    above = create(3, file(world.folder(W2), "above"), 1)

    report = await world.execute(slow, free, above)

    assert report.ok
    assert world.log(W2) == ["file/free", "file/above"]
    started = [int(event.step.id) for event in world.told(StepStarted) if isinstance(event, StepStarted)]
    ended = [int(event.step.id) for event in world.told(StepResult) if isinstance(event, StepResult)]
    assert ended.index(1) < ended.index(3)
    assert started.index(2) < started.index(3)


async def test_a_step_starts_when_its_need_is_done_and_not_when_that_batch_ends(world: World) -> None:
    base, slow = create(1, file(world.folder(W1), "base")), create(2, file(world.folder(W1), "slow", seconds=2), 1)
    far = create(3, file(world.folder(W2), "far"), 1)

    report = await world.execute(base, slow, far)

    assert report.ok
    assert len(world.hosts.batches(W1)) == 1
    assert [event.step.id for event in world.told(StepResult) if isinstance(event, StepResult)] == [1, 3, 2]


async def test_a_failure_skips_its_dependants_on_every_host_and_nothing_else(world: World) -> None:
    one, two = world.folder(W1), world.folder(W2)
    steps = [
        create(1, file(one, "bad", broken=True)),
        create(2, file(one, "on-bad"), 1),
        create(3, file(two, "far"), 2),
        create(4, file(one, "apart")),
        create(5, file(two, "on-apart"), 4),
    ]

    report = await world.execute(*steps)

    assert numbers(report.done) == [4, 5]
    assert [(failed.step.id, failed.message) for failed in report.failed] == [(1, "no room for this")]
    assert [(skipped.step.id, skipped.message) for skipped in report.skipped] == [
        (2, "needs file/bad on worker1"),
        (3, "needs file/bad on worker1"),
    ]
    assert not (one / "on-bad").exists()
    assert world.journal.recorded == {
        1: StepStatus.FAILED,
        2: StepStatus.FAILED,
        4: StepStatus.DONE,
        5: StepStatus.DONE,
    }


async def test_what_is_not_ours_is_refused_and_left_alone(world: World) -> None:
    folder = world.folder(W1)
    (folder / "theirs").write_text(FOREIGN)

    report = await world.execute(
        create(1, file(folder, "theirs")), create(2, file(folder, "on-it"), 1), create(3, file(folder, "ours"))
    )

    assert [failed.message for failed in report.failed] == [f"{folder}/theirs is not ours"]
    assert (numbers(report.done), [skipped.step.id for skipped in report.skipped]) == ([3], [2])
    assert (folder / "theirs").read_text() == FOREIGN
    assert world.journal.intended == [3]


async def test_one_host_unreachable_leaves_the_others_to_finish(world: World) -> None:
    world.hosts.down = {W1}
    report = await world.execute(
        create(1, file(world.folder(W1), "a")),
        create(2, file(world.folder(W2), "b"), 1),
        create(3, file(world.folder(W3), "c")),
    )

    assert [(failed.step.id, failed.message) for failed in report.failed] == [(1, "it refuses connections")]
    assert [skipped.step.id for skipped in report.skipped] == [2]
    assert numbers(report.done) == [3]
    assert world.told(HostLost) == [HostLost(W1, "it refuses connections")]


async def test_a_batch_cut_short_is_probed_and_then_finished(world: World) -> None:
    folder = world.folder(W1)
    world.hosts.cuts[W1] = [None, 7]  # a step here has three commands: the third step is under way
    steps = [create(n, file(folder, f"f{n}"), *([n - 1] if n > 1 else [])) for n in range(1, 6)]

    report = await world.execute(*steps)

    assert report.ok
    assert sorted(world.log(W1)) == [f"file/f{n}" for n in range(1, 6)]  # none was made twice
    assert [event.host for event in world.told(HostDropped) if isinstance(event, HostDropped)] == [W1]
    assert len(world.hosts.probes(W1)) == 2
    assert len(world.journal.intended) == 5
    assert set(world.journal.recorded.values()) == {StepStatus.DONE}


async def test_a_host_that_does_not_come_back_leaves_its_steps_unknown(world: World) -> None:
    one, two = world.folder(W1), world.folder(W2)
    world.hosts.cuts[W1] = [None, 3, 1, 1]  # the batch, and both tries to look again
    steps = [
        create(1, file(one, "a")),
        create(2, file(one, "b")),
        create(3, file(two, "c"), 2),
        create(4, file(two, "d"), 1),
    ]

    report = await world.execute(*steps)

    assert numbers(report.done) == [1, 4]
    assert [unknown.step.id for unknown in report.unknown] == [2]
    assert [skipped.step.id for skipped in report.skipped] == [3]
    assert world.journal.recorded[2] is StepStatus.UNKNOWN


async def test_a_probe_cut_short_is_sent_again(world: World) -> None:
    world.hosts.cuts[W1] = [1]
    report = await world.execute(create(1, file(world.folder(W1), "a")))
    assert report.ok
    assert len(world.hosts.probes(W1)) == 2


async def test_a_replacement_on_one_host_is_probed_in_between(world: World) -> None:
    folder = world.folder(W1)
    old, new = file(folder, "same", "old"), file(folder, "same", "new")
    (folder / "same").write_text("old")

    report = await world.execute(delete(1, old), create(2, new, 1), create(3, file(folder, "above"), 2))

    assert report.ok
    assert (folder / "same").read_text() == "new"
    assert world.log(W1) == ["-file/same", "file/same", "file/above"]
    assert (len(world.hosts.probes(W1)), len(world.hosts.batches(W1))) == (2, 2)


async def test_a_move_deletes_on_one_host_and_creates_on_the_other(world: World) -> None:
    old, new = file(world.folder(W1), "vm"), file(world.folder(W2), "vm")
    await world.execute(create(1, old))

    report = await world.execute(delete(1, old), create(2, new, 1))

    assert report.ok
    assert not (world.folder(W1) / "vm").exists()
    assert (world.folder(W2) / "vm").exists()


async def test_an_update_knows_what_was_before_and_a_delete_of_what_is_gone_succeeds(world: World) -> None:
    folder = world.folder(W1)
    before, after = file(folder, "f", "one"), file(folder, "f", "two")
    (folder / "f").write_text("one")

    report = await world.execute(update(1, before, after), delete(2, file(folder, "gone")))

    assert report.ok
    assert (folder / "log").read_text() == "file/f one two\n"


async def test_stop_finishes_what_is_in_flight_and_begins_nothing_new(world: World) -> None:
    first = create(1, file(world.folder(W1), "a", seconds=0.2))
    second = create(2, file(world.folder(W1), "b"))
    later = create(3, file(world.folder(W2), "c"), 1)

    def stop_at_the_first(event: Event) -> None:
        if isinstance(event, StepStarted):
            world.stop.set()

    world.events = _Telling(stop_at_the_first)
    report = await world.execute(first, second, later)

    assert numbers(report.done) == [1, 2]
    assert numbers(report.not_started) == [3]
    assert not report.ok
    assert world.journal.recorded == {1: StepStatus.DONE, 2: StepStatus.DONE}


class _Telling(list[Event]):
    def __init__(self, listener: object) -> None:
        super().__init__()
        self._listener = listener

    def append(self, event: Event) -> None:
        super().append(event)
        assert callable(self._listener)
        self._listener(event)


async def test_cancelled_it_has_written_down_what_it_knows(world: World) -> None:
    done = asyncio.Event()
    folder = world.folder(W1)
    world.events = _Telling(lambda event: done.set() if isinstance(event, StepResult) else None)
    running = asyncio.create_task(
        world.execute(create(1, file(folder, "a")), create(2, file(folder, "b", seconds=0.5), 1))
    )
    await done.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert world.journal.intended == [1, 2]
    assert world.journal.recorded == {1: StepStatus.DONE}


async def test_results_are_written_while_a_slow_step_runs(world: World) -> None:
    folder = world.folder(W1)
    await world.execute(create(1, file(folder, "a")), create(2, file(folder, "b", seconds=1), 1))
    assert [[number for number, _, _ in group] for group in world.journal.groups] == [[1], [2]]


async def test_nothing_is_sent_that_could_not_be_written_down(world: World) -> None:
    world.journal.full = True
    with pytest.raises(OSError, match="No space left"):
        await world.execute(create(1, file(world.folder(W1), "a")))
    assert world.hosts.batches(W1) == []
    assert not (world.folder(W1) / "a").exists()


@pytest.mark.parametrize("parallelism", [1, 2])
async def test_parallelism_bounds_the_hosts_at_work(world: World, parallelism: int) -> None:
    world.parallelism = parallelism
    hosts = [HostName(f"worker{n}") for n in range(1, 5)]
    report = await world.execute(
        *(create(n, file(world.folder(host), "f", seconds=0.05)) for n, host in enumerate(hosts, start=1))
    )
    assert report.ok
    assert world.hosts.peak == parallelism


async def test_an_upload_is_complete_before_what_needs_it(world: World, tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    image.write_text("content")
    digest = hashlib.sha256(b"content").hexdigest()
    world.uploads[digest] = image
    folder = world.folder(W1)
    blob = Blob(address=file(folder, "blob").address, slice=None, host=W1, path=f"{folder}/images/i", sha256=digest)

    report = await world.execute(create(1, blob), create(2, file(folder, "above"), 1), create(3, file(folder, "x")))

    assert report.ok
    assert (folder / "images" / "i").stat().st_mode & 0o777 == 0o444
    assert len(world.hosts.batches(W1)) == 2  # the folder for the file; all the rest


async def test_an_upload_that_needs_a_step_waits_for_the_next_batch(world: World, tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    image.write_text("content")
    digest = hashlib.sha256(b"content").hexdigest()
    world.uploads[digest] = image
    folder = world.folder(W1)
    blob = Blob(address=file(folder, "blob").address, slice=None, host=W1, path=f"{folder}/i", sha256=digest)

    report = await world.execute(create(1, file(folder, "a")), create(2, blob, 1), create(3, file(folder, "b"), 2))

    assert report.ok
    assert (folder / "i").read_text() == "content"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "there is no local file for"), ("other", "but {digest} is required"), ("missing", "cannot be read")],
)
async def test_an_upload_without_its_file_fails(world: World, tmp_path: Path, content: str | None, words: str) -> None:
    digest = hashlib.sha256(b"content").hexdigest()
    folder = world.folder(W1)
    if content is not None:
        world.uploads[digest] = tmp_path / "image"
    if content == "other":
        (tmp_path / "image").write_text(content)
    blob = Blob(address=file(folder, "blob").address, slice=None, host=W1, path=f"{folder}/i", sha256=digest)

    report = await world.execute(create(1, blob), create(2, file(folder, "above"), 1))

    assert words.format(digest=digest) in report.failed[0].message
    assert [skipped.step.id for skipped in report.skipped] == [2]
    assert not (folder / "i").exists()
