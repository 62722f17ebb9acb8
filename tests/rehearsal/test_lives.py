"""Lives of a cluster at random: edits, applies, crashes, lost hosts and drift, in any order; nothing may ever be amiss.

The hosts are a model in memory; plans, executor, journal and record are the real ones.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from reconciler import workflow
from reconciler.errors import StateLost, UsageError
from reconciler.plan.record import Status, claims
from reconciler.rehearsal.hosts import amiss, place_of
from reconciler.rehearsal.stage import Cut, Stage
from reconciler.spec.check import check
from reconciler.spec.load import ClusterFile, SliceFile
from reconciler.spec.names import HostName, SliceKey
from reconciler.spec.slice import Slice
from reconciler.spec.source import Source
from reconciler.state.store import Holder
from tests.conftest import Tell
from tests.plan.examples import LAB1, LAB2, cluster, lab

KEYS: Final = (LAB1, LAB2)
CLUSTER: Final = ClusterFile("cluster.yaml", cluster(), "c" * 64, Source("cluster.yaml", ""))
HOSTS: Final = tuple(HostName(host.name) for host in CLUSTER.cluster.hosts())
THIEF: Final = Holder(user="other", host="elsewhere", pid=1)

LIVES: Final = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    stateful_step_count=40,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)

steps_done = 0


@st.composite
def edits(draw: st.DrawFn, key: SliceKey) -> Slice:
    """Draw a slice of a few VMs and links; two draws of one key are an edit of it."""
    vms: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from("abc"), unique=True, max_size=3)):
        vms[name] = {"internet": draw(st.booleans())}
        if draw(st.integers(0, 2)) == 0:
            vms[name]["worker"] = draw(st.sampled_from(["worker1", "worker2"]))
        if draw(st.integers(0, 3)) == 0:
            vms[name] |= draw(st.sampled_from([{"flavor": "ubuntu"}, {"disk": "2GiB"}, {"vcpus": 2}]))
    pairs = list(combinations(sorted(vms), 2))
    links = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=2)) if pairs else []
    return lab(vms, [{"endpoints": list(pair)} for pair in links], key=key)


class Lives(RuleBasedStateMachine):
    """One cluster with two slices, and what may befall it."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(CLUSTER.cluster.name, HOSTS)
        self.files: dict[SliceKey, Slice] = {}

    # What people do.

    @rule(data=st.data(), key=st.sampled_from(KEYS))
    def edit(self, data: st.DataObject, key: SliceKey) -> None:
        written = data.draw(edits(key))
        assert not check(CLUSTER, [_file(written)])
        self.files[key] = written

    @rule(wanted=st.sets(st.sampled_from(KEYS), min_size=1))
    def plan(self, wanted: set[SliceKey]) -> None:
        before = self.stage.store.frozen()
        hosts = {name: host.copy() for name, host in self.stage.hosts.items()}
        inputs = self.inputs(wanted)
        assert workflow.plan(inputs, self.stage.store) == workflow.plan(inputs, self.stage.store)
        assert self.stage.store.frozen() == before
        assert self.stage.hosts == hosts

    @rule(wanted=st.sets(st.sampled_from(KEYS), min_size=1))
    def apply(self, wanted: set[SliceKey]) -> None:
        self.carry_out(self.inputs(wanted), workflow.NOTHING_ELSE)

    @precondition(lambda self: self.known())
    @rule(data=st.data())
    def destroy(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.known()))
        self.files.pop(key, None)
        self.carry_out(self.inputs(()), workflow.Asked(destroy=(key,)))

    @precondition(lambda self: any(host.things for host in self.stage.hosts.values()))
    @rule(data=st.data())
    def remove_by_hand(self, data: st.DataObject) -> None:
        standing = sorted(self.stage.standing(), key=str)
        host, place = data.draw(st.sampled_from(standing))
        del self.stage.hosts[host].things[place]

    # What befalls them.

    @rule(data=st.data(), moment=st.integers(1, 60), cut=st.booleans())
    def crash(self, data: st.DataObject, moment: int, *, cut: bool) -> None:
        inputs, asked = self.draw_work(data)
        for stop in self.stage.stops(inputs, asked, lambda number: number == moment):
            self.stage.rewind(stop.scene.cut() if cut else stop.scene)

    @rule(
        data=st.data(), host=st.sampled_from(HOSTS), after=st.integers(1, 12), goes_on=st.booleans(), back=st.booleans()
    )
    def lose_connection(self, data: st.DataObject, host: HostName, after: int, *, goes_on: bool, back: bool) -> None:
        inputs, asked = self.draw_work(data)
        self.stage.cuts[host] = Cut(after, goes_on, back)
        self.stage.apply(inputs, asked)
        self.stage.cuts.clear()

    @rule(data=st.data(), moment=st.integers(1, 60))
    def overtake(self, data: st.DataObject, moment: int) -> None:
        inputs, asked = self.draw_work(data)
        count = 0

        def passing(_: str) -> None:
            nonlocal count
            count += 1
            if count == moment:
                self.steal()

        self.stage.passing = passing
        try:
            self.stage.apply(inputs, asked)
        except StateLost:
            assert count >= moment
        finally:
            self.stage.passing = lambda _: None

    @precondition(lambda self: self.stage.store.locks())
    @rule()
    def steal_what_a_stopped_run_holds(self) -> None:
        self.steal()
        assert self.stage.store.locks() == ()

    @rule(host=st.sampled_from(HOSTS))
    def lose_host(self, host: HostName) -> None:
        self.stage.hosts[host].down = True

    @precondition(lambda self: any(host.down for host in self.stage.hosts.values()))
    @rule()
    def find_hosts_again(self) -> None:
        for host in self.stage.hosts.values():
            host.down = False

    @invariant()
    def nothing_is_amiss(self) -> None:
        global steps_done  # noqa: PLW0603 - the machine is made anew for each life
        steps_done += 1
        assert amiss(self.stage.hosts) == []
        recorded = self.stage.store.read(None)
        taken = [claim for key, given in recorded.allocations.items() for claim in claims(key, given)]
        own = [claim for claim in taken if claim.kind not in {"image", "uplink"}]
        assert len(own) == len(set(own))

    def teardown(self) -> None:
        try:
            self.come_to_rest()
        finally:
            self.stage.store.close()

    def come_to_rest(self) -> None:
        """With all hosts back, one apply of what is wanted and one destroy of what is not leave all as it should be."""
        self.find_hosts_again()
        self.finish(self.inputs(KEYS), workflow.NOTHING_ELSE)
        if unwanted := tuple(key for key in self.known() if key not in self.files):
            self.finish(self.inputs(()), workflow.Asked(destroy=unwanted))
        recorded = self.stage.store.read(None)
        assert {entry.status for entry in recorded.resources.values()} <= {Status.PRESENT}
        assert not any(recorded.held.values())
        standing = self.stage.standing()
        assert all(thing.whole for thing in standing.values())
        assert {where: thing.resource for where, thing in standing.items()} == {
            (entry.resource.host, place_of(entry.resource)): entry.resource for entry in recorded.resources.values()
        }
        if known := self.known():
            self.finish(self.inputs(()), workflow.Asked(destroy=known))
        recorded = self.stage.store.read(None)
        assert (recorded.resources, recorded.allocations, recorded.held) == ({}, {}, {})
        assert self.stage.standing() == {}

    def finish(self, inputs: workflow.Inputs, asked: workflow.Asked) -> None:
        applied = self.stage.apply(inputs, asked)
        assert applied.ok, applied.report
        assert workflow.plan(inputs, self.stage.store, asked).empty

    def carry_out(self, inputs: workflow.Inputs, asked: workflow.Asked) -> None:
        """Apply; where every host answers, that is all there is to it."""
        if any(host.down for host in self.stage.hosts.values()):
            self.stage.apply(inputs, asked)
        else:
            self.finish(inputs, asked)

    def draw_work(self, data: st.DataObject) -> tuple[workflow.Inputs, workflow.Asked]:
        """Draw slices to apply, or to destroy."""
        known = self.known()
        if known and data.draw(st.integers(0, 3)) == 0:
            key = data.draw(st.sampled_from(known))
            self.files.pop(key, None)
            return self.inputs(()), workflow.Asked(destroy=(key,))
        return self.inputs(data.draw(st.sets(st.sampled_from(KEYS), min_size=1))), workflow.NOTHING_ELSE

    def steal(self) -> None:
        """Take over all locks as one does who has seen their holder silent, and let go of them."""
        held = self.stage.store.locks()
        with self.stage.store.lock({lock.name for lock in held}, THIEF, silent=held):
            pass

    def known(self) -> tuple[SliceKey, ...]:
        """Return the slices that the record knows of, or that an apply has left unfinished."""
        return tuple(key for key in KEYS if _finds(self.stage, key))

    def inputs(self, wanted: Any) -> workflow.Inputs:
        """Return those of the files that are wanted."""
        return workflow.Inputs(CLUSTER, tuple(_file(self.files[key]) for key in sorted(wanted) if key in self.files))


def _finds(stage: Stage, key: SliceKey) -> bool:
    try:
        return bool(workflow.find_slices(stage.store, [key], unfinished=True))
    except UsageError:
        return False


def _file(written: Slice) -> SliceFile:
    path = f"{written.key}.yaml"
    return SliceFile(path, written, "d" * 64, Source(path, ""))


def test_a_cluster_comes_to_rest_whatever_befalls_it(tell: Tell) -> None:
    run_state_machine_as_test(Lives, settings=LIVES)
    tell(f"lives of a cluster: {steps_done} steps at random, nothing amiss after any")
    assert steps_done >= 2000
