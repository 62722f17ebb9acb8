"""Random lives of a cluster: edits, applies, crashes, lost hosts and drift, in any order; invariants always hold.

The hosts are a model in memory. Plans, executor, journal and state are the real ones.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from itertools import combinations, count
from random import Random
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from reconciler import workflow
from reconciler.errors import PlanError, StateLost, UsageError
from reconciler.plan.snapshot import Status, claims
from reconciler.simulation.cluster import Interruption, SimulatedCluster, ignore
from reconciler.simulation.hosts import invariant_violations, object_name
from reconciler.spec.check.files import check
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.load import ClusterFile, SliceFile
from reconciler.spec.models.names import HostName, SliceKey
from reconciler.spec.yaml.source import Source
from reconciler.state.store import Holder
from reconciler.workflow.simulate import apply_on, interruption_points
from tests.conftest import Tell
from tests.effort import examples
from tests.plan.examples import LAB1, LAB2, cluster, lab
from tests.simulation.sqlite_state import SqliteState

KEYS: Final = (LAB1, LAB2)
CLUSTER: Final = ClusterFile("cluster.yaml", cluster(), "c" * 64, Source("cluster.yaml", ""))
HOSTS: Final = tuple(HostName(host.name) for host in CLUSTER.cluster.hosts())
THIEF: Final = Holder(user="other", host="elsewhere", pid=1)

LIVES: Final = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=examples(90),
    stateful_step_count=40,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)

WANTED: Final = st.sets(st.sampled_from(KEYS), min_size=1)
CUTS: Final = st.tuples(st.integers(1, 8), st.booleans(), st.booleans())

seen: Counter[str] = Counter()
"""What has happened in all lives together."""


@st.composite
def edits(draw: st.DrawFn, key: SliceKey) -> ExpandedSlice:
    """Draw a slice of a few VMs and links; two draws of one key are an edit of it."""
    vms: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from("abc"), unique=True, min_size=draw(st.integers(0, 1)), max_size=2)):
        vms[name] = {"internet": draw(st.booleans())}
        if draw(st.integers(0, 2)) == 0:
            vms[name]["worker"] = draw(st.sampled_from(["worker1", "worker2"]))
        if draw(st.integers(0, 3)) == 0:
            vms[name] |= draw(st.sampled_from([{"flavor": "ubuntu"}, {"disk": "2GiB"}, {"vcpus": 2}]))
    pairs = list(combinations(sorted(vms), 2))
    links = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return lab(vms, [{"endpoints": list(pair)} for pair in links], key=key)


class Lives(RuleBasedStateMachine):
    """One cluster with two slices, and everything that may happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.simulated = self.new_cluster()
        self.files: dict[SliceKey, ExpandedSlice] = {}

    def new_cluster(self) -> SimulatedCluster:
        """Return the cluster to live in, in which nothing has happened."""
        return SimulatedCluster(HOSTS)

    # What people do.

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        for key in KEYS:
            self.edit(data, key)

    @rule(data=st.data(), key=st.sampled_from(KEYS))
    def edit(self, data: st.DataObject, key: SliceKey) -> None:
        written = data.draw(edits(key))
        assert not check(CLUSTER, [_file(written)])
        try:
            workflow.plan(workflow.Inputs(CLUSTER, (_file(written),)), self.simulated.store)
        except PlanError as error:
            if " cannot shrink: " not in str(error):
                raise
            seen["an edit would shrink a disk"] += 1
        else:
            self.files[key] = written

    @rule(wanted=WANTED)
    def plan(self, wanted: set[SliceKey]) -> None:
        before, hosts = self.simulated.store.image(), self.simulated.checkpoint().hosts
        inputs = self.inputs(wanted)
        assert workflow.plan(inputs, self.simulated.store) == workflow.plan(inputs, self.simulated.store)
        assert self.simulated.store.image() == before
        assert self.simulated.hosts == hosts

    @rule(data=st.data())
    def apply(self, data: st.DataObject) -> None:
        inputs, asked = self.draw_work(data)
        if any(host.down for host in self.simulated.hosts.values()):
            self.note("applies with a host lost", apply_on(self.simulated, inputs, asked))
        else:
            self.finish(inputs, asked)

    @precondition(lambda self: any(host.objects for host in self.simulated.hosts.values()))
    @rule(data=st.data())
    def remove_by_hand(self, data: st.DataObject) -> None:
        if current := sorted(self.simulated.objects()):
            host, name = data.draw(st.sampled_from(current))
            del self.simulated.hosts[host].objects[name]
            seen["objects removed by hand"] += 1

    # What happens to them.

    @rule(data=st.data(), seed=st.integers(0, 2**16), cut=st.booleans())
    def crash(self, data: st.DataObject, seed: int, *, cut: bool) -> None:
        inputs, asked = self.draw_work(data)
        chance = Random(seed)  # noqa: S311 - any of the points, each as likely as the others
        if points := interruption_points(self.simulated, inputs, asked, lambda number: chance.randrange(number) == 0):
            self.simulated.restore(points[-1].checkpoint.cut() if cut else points[-1].checkpoint)
            seen["crashes"] += 1

    @rule(data=st.data(), cuts=st.dictionaries(st.sampled_from(HOSTS), CUTS, min_size=1, max_size=2))
    def lose_connections(self, data: st.DataObject, cuts: dict[HostName, tuple[int, bool, bool]]) -> None:
        inputs, asked = self.draw_work(data)
        self.simulated.cuts = {host: Interruption(*cut) for host, cut in cuts.items()}
        applied = apply_on(self.simulated, inputs, asked)
        if len(self.simulated.cuts) < len(cuts):
            self.note("applies with a connection lost", applied)
        self.simulated.cuts = {}

    @rule(data=st.data(), number=st.integers(1, 25))
    def overtake(self, data: st.DataObject, number: int) -> None:
        inputs, asked = self.draw_work(data)
        numbers = count(1)

        def on_point(_: str) -> None:
            if next(numbers) == number:
                self.steal()
                seen["applies overtaken"] += 1

        self.simulated.on_point = on_point
        with suppress(StateLost):
            apply_on(self.simulated, inputs, asked)
        self.simulated.on_point = ignore

    @precondition(lambda self: self.simulated.store.locks())
    @rule()
    def steal_what_a_stopped_run_holds(self) -> None:
        self.steal()
        seen["locks stolen afterwards"] += 1
        assert self.simulated.store.locks() == ()

    @rule(host=st.sampled_from(HOSTS))
    def lose_host(self, host: HostName) -> None:
        self.simulated.hosts[host].down = True

    @precondition(lambda self: any(host.down for host in self.simulated.hosts.values()))
    @rule()
    def find_hosts_again(self) -> None:
        for host in self.simulated.hosts.values():
            host.down = False

    @invariant()
    def invariants_hold(self) -> None:
        seen["steps"] += 1
        assert invariant_violations(self.simulated.hosts) == []
        state = self.simulated.store.read(None)
        taken = [claim for key, given in state.allocations.items() for claim in claims(key, given)]
        own = [claim for claim in taken if claim.kind not in {"image", "uplink"}]
        assert len(own) == len(set(own))

    def teardown(self) -> None:
        try:
            self.come_to_rest()
        finally:
            self.simulated.store.close()

    def come_to_rest(self) -> None:
        """With all hosts back, one apply of all files and one destroy of the rest leave hosts and state consistent."""
        self.find_hosts_again()
        self.finish(self.inputs(KEYS), workflow.NOTHING_ELSE)
        if unwanted := tuple(key for key in self.known() if key not in self.files):
            self.finish(self.inputs(()), workflow.Asked(destroy=unwanted))
        state = self.simulated.store.read(None)
        assert {entry.status for entry in state.resources.values()} <= {Status.PRESENT}
        assert not any(state.held.values())
        current = self.simulated.objects()
        assert all(found.complete for found in current.values())
        assert {where: found.resource for where, found in current.items()} == {
            (entry.resource.host, object_name(entry.resource)): entry.resource for entry in state.resources.values()
        }
        if known := self.known():
            self.finish(self.inputs(()), workflow.Asked(destroy=known))
        state = self.simulated.store.read(None)
        assert (state.resources, state.allocations, state.held) == ({}, {}, {})
        assert self.simulated.objects() == {}

    def finish(self, inputs: workflow.Inputs, asked: workflow.Asked) -> None:
        applied = apply_on(self.simulated, inputs, asked)
        assert applied.ok, applied.report
        seen["applies completed" if applied.report else "applies with nothing to do"] += 1
        again = workflow.plan(inputs, self.simulated.store, asked)
        assert again.empty, [(change.address, change.action, change.reason) for change in again.changes]

    def note(self, what: str, applied: workflow.ApplyResult) -> None:
        """Count what was survived."""
        if applied.report is not None:
            seen[what + (", completed" if applied.ok else ", not completed")] += 1

    def draw_work(self, data: st.DataObject) -> tuple[workflow.Inputs, workflow.Asked]:
        """Draw slices to apply, or to destroy."""
        known = self.known()
        if known and data.draw(st.integers(0, 3)) == 0:
            key = data.draw(st.sampled_from(known))
            self.files.pop(key, None)
            return self.inputs(()), workflow.Asked(destroy=(key,))
        wanted = data.draw(WANTED)
        for key in sorted(wanted):
            if key not in self.files or data.draw(st.booleans()):
                self.edit(data, key)
        return self.inputs(wanted), workflow.NOTHING_ELSE

    def steal(self) -> None:
        """Take over all locks, as a process that has seen their holder silent, and release them."""
        held = self.simulated.store.locks()
        with self.simulated.store.lock({lock.name for lock in held}, THIEF, silent=held):
            pass

    def known(self) -> tuple[SliceKey, ...]:
        """Return the slices in the state, and those that an apply has left unfinished."""
        return tuple(key for key in KEYS if _finds(self.simulated, key))

    def inputs(self, wanted: Any) -> workflow.Inputs:
        """Return those of the files that are wanted."""
        return workflow.Inputs(CLUSTER, tuple(_file(self.files[key]) for key in sorted(wanted) if key in self.files))


def _finds(simulated: SimulatedCluster, key: SliceKey) -> bool:
    try:
        return bool(workflow.find_slices(simulated.store, [key], unfinished=True))
    except UsageError:
        return False


def _file(written: ExpandedSlice) -> SliceFile:
    path = f"{written.key}.yaml"
    return SliceFile(path, written, "d" * 64, Source(path, ""))


class LivesOnSqlite(Lives):
    """The same with the state in SQLite."""

    def new_cluster(self) -> SimulatedCluster:
        return SimulatedCluster(HOSTS, store=SqliteState)


@pytest.mark.slow
@pytest.mark.parametrize("lives", [Lives, LivesOnSqlite])
def test_a_cluster_always_comes_to_rest(lives: type[Lives], tell: Tell) -> None:
    seen.clear()
    run_state_machine_as_test(lives, settings=LIVES)
    tell(f"{lives.__name__}: " + ", ".join(f"{number} {what}" for what, number in seen.most_common()))
    assert seen["steps"] >= 2000
    assert seen["crashes"] >= 100
    assert seen["applies overtaken"] >= 50
    assert seen["applies with a connection lost, not completed"] >= 20
