"""Facts read before an apply are used while they are sure to hold, and read again if anything may have moved."""

from __future__ import annotations

import hashlib
from pathlib import Path
from time import monotonic

import pytest

from reconciler.apply.observation.observe import KnownFacts, observe
from reconciler.apply.transport.batch import Batch, OperationLock, Task, count_batches
from reconciler.apply.transport.command import Command, script
from reconciler.apply.transport.connection import run_batch
from reconciler.apply.transport.fence import Fence
from reconciler.errors import HostMoved, HostUnreachable
from reconciler.plan.model import Step
from reconciler.spec.models.names import HostName
from tests.apply.files import DRIVERS, Blob, create, file
from tests.apply.localhost import Localhosts
from tests.apply.test_executor import W1, World, numbers


@pytest.fixture
def world(hosts: Localhosts) -> World:
    world = World(hosts)
    world.fence = Fence("5f0e", {"admin/two-vms": 57})
    return world


async def look(world: World, *steps: Step) -> dict[HostName, KnownFacts]:
    """Read the facts of steps, as a refresh does."""
    begun = monotonic()
    observed = await observe(world.hosts, [step.subject for step in steps], DRIVERS)
    world.hosts.sent.clear()
    return {
        host: KnownFacts(
            begun,
            batches,
            {step.address: (step.subject, observed.facts[host, step.address]) for step in steps if step.host == host},
        )
        for host, batches in observed.batches.items()
    }


async def interfere(world: World, *commands: Command) -> None:
    """Run a batch on the host, as another apply does."""
    connection = await world.hosts.connect(W1)
    async for _ in run_batch(connection, Batch((Task(0, commands),))):
        pass
    world.hosts.sent.clear()


async def test_known_facts_save_the_probe(world: World) -> None:
    folder = world.folder(W1)
    steps = [create(number, file(folder, f"f{number}")) for number in (1, 2, 3)]
    world.known = await look(world, *steps)

    assert (await world.execute(*steps)).ok

    assert len(world.hosts.sent) == 1
    assert world.log(W1) == ["file/f1", "file/f2", "file/f3"]


async def test_a_batch_of_another_apply_makes_facts_outdated(world: World) -> None:
    folder = world.folder(W1)
    steps = [create(number, file(folder, f"f{number}")) for number in (1, 2, 3)]
    world.known = await look(world, *steps)
    await interfere(world, script('printf "%s" "$2" >"$1"', f"{folder}/f2", file(folder, "f2").line))

    assert (await world.execute(*steps)).ok

    refused, again, batch = world.hosts.sent
    assert (refused.batch.since, again.batch.since, batch.batch.since) == (0, None, None)
    assert world.log(W1) == ["file/f1", "file/f3"], "the file that has come meanwhile is not made again"
    assert world.journal.intended == [1, 2, 3]


async def test_what_exists_already_is_not_taken_for_granted(world: World) -> None:
    folder = world.folder(W1)
    step = create(1, file(folder, "f1"))
    assert (await world.execute(step)).ok
    world.known = await look(world, step)
    await interfere(world, Command(("rm", f"{folder}/f1")))

    assert (await world.execute(step)).ok

    assert (folder / "f1").exists()


async def test_an_upload_waits_for_the_same_condition(world: World, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"image")
    digest = hashlib.sha256(b"image").hexdigest()
    world.uploads = {digest: content}
    folder = world.folder(W1)
    blob = Blob(address=file(folder, "blob").address, slice=None, host=W1, path=f"{folder}/blob", sha256=digest)
    world.known = await look(world, create(1, blob))
    await interfere(world, script('printf foreign >"$1"', f"{folder}/blob"))

    report = await world.execute(create(1, blob))

    assert (report.ok, (folder / "blob").read_text()) == (True, "foreign"), "it exists, so nothing was copied over it"


async def test_old_facts_and_those_of_another_resource_are_read_again(world: World) -> None:
    folder = world.folder(W1)
    step, other = create(1, file(folder, "f1")), create(1, file(folder, "f1", line="another"))
    (known,) = (await look(world, step)).values()
    for outdated in (KnownFacts(known.read_at - 60, known.batches, known.found), (await look(world, other))[W1]):
        world.known = {W1: outdated}
        world.hosts.sent.clear()
        assert (await world.execute(step)).ok
        assert world.hosts.sent[0].batch.since is None


async def test_a_connection_lost_in_the_second_look_leaves_the_steps_unknown_and_not_failed(world: World) -> None:
    folder = world.folder(W1)
    step = create(1, file(folder, "f1"))
    world.known = await look(world, step)
    await interfere(world, Command(("true",)))
    world.observe = lambda _: world.hosts.down.add(W1)
    world.hosts.cuts[W1] = [None, 1, 1]

    report = await world.execute(step)

    assert numbers(report.unknown) == [1]
    assert world.journal.intended == [1]


async def test_only_batches_that_may_change_something_count(hosts: Localhosts) -> None:
    connection = await hosts.connect(W1)

    async def send(lock: OperationLock, since: int | None = None) -> list[str]:
        tasks = (Task(0, (count_batches(lock),)),)
        events = [event async for event in run_batch(connection, Batch(tasks, lock, since=since))]
        return [result.output.strip() for result in getattr(events[-1], "results", ())]

    reading, changing = OperationLock(shared=True), OperationLock()
    assert await send(reading) == ["0"]
    assert await send(reading) == ["0"]
    assert await send(changing) == ["1"]
    assert await send(changing, since=1) == ["2"]
    with pytest.raises(HostMoved) as caught:
        await send(changing, since=1)
    assert not isinstance(caught.value, HostUnreachable)
    assert await send(reading) == ["3"], "also a batch that was refused: to look once more is always safe"
