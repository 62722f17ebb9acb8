"""Slices, resources, plans and steps for the state contract, small enough to read at a glance."""

from __future__ import annotations

import os

from reconciler.plan.model import Action, Counts, Plan, Step, StepId
from reconciler.plan.resources import (
    Disk,
    Image,
    Lease,
    Nic,
    Port,
    Reservation,
    Resource,
    Router,
    Segment,
    Trunk,
    Uplink,
    Vm,
    address,
)
from reconciler.plan.results import StepResult, StepStatus
from reconciler.plan.snapshot import (
    Block,
    Counters,
    LinkAllocation,
    ResourceState,
    SliceAllocation,
    VmAllocation,
)
from reconciler.spec.models.names import (
    Address,
    Bytes,
    HostName,
    LinkId,
    LinkKey,
    SliceId,
    SliceKey,
    VlanId,
    VmId,
    VmName,
)
from reconciler.state.store import ApplyId, Holder, StateStore

LAB1, LAB2 = SliceKey("alice/lab1"), SliceKey("bob/lab2")
ANNA = Holder("anna", "ctl1", os.getpid())
WORKER, NETWORK = HostName("worker1"), HostName("network")


def allocation(number: int = 0, *, vlans: tuple[int, ...] = (0,)) -> SliceAllocation:
    """Return what slice `number` is given: one VM, and a link for each VLAN, counted within the slice's pool."""
    first = 100 + 20 * number
    vm = VmAllocation(
        id=VmId(1001 + number),
        worker=WORKER,
        vnc=5901 + number,
        image="cirros-0",
        vcpus=1,
        memory=Bytes(2**28),
        nics=2,
        internet=f"10.60.7.{10 + number}",
    )
    links = {
        LinkKey(f"a:eth{vlan + 1}--b:eth{vlan + 1}"): LinkAllocation(
            LinkId(1 + number * 20 + vlan), VlanId(first + vlan), f"192.168.{first + vlan}.0/24"
        )
        for vlan in vlans
    }
    pool = (Block(VlanId(first), VlanId(first + 19)),)
    return SliceAllocation(SliceId(1000 + number), pool, {VmName("a"): vm}, links)


def router(key: SliceKey = LAB1) -> Router:
    return Router(address=address(Router, key), slice=key, host=NETWORK, namespace="rt-1000")


def port(vlan: int, key: SliceKey = LAB1) -> Port:
    return Port(
        address=address(Port, f"{key}/a:eth1"),
        slice=key,
        host=WORKER,
        bridge="br-int",
        tap="t1001-1",
        mac="52:54:00:00:00:01",
        mtu=1500,
        vlan=VlanId(vlan),
        gateway_mac=None,
    )


def image() -> Image:
    return Image(
        address=address(Image, "worker1/cirros-0"), slice=None, host=WORKER, path="/img/cirros-0", sha256="0" * 64
    )


def steps(*changes: tuple[Resource | None, Resource | None]) -> tuple[Step, ...]:
    """Form steps from pairs of before and after, numbered from 1."""
    made = []
    for number, (before, after) in enumerate(changes, start=1):
        subject = after or before
        assert subject is not None
        action = Action.CREATE if before is None else Action.DELETE if after is None else Action.UPDATE
        made.append(Step(StepId(number), action, subject.address, subject.host, before, after))
    return tuple(made)


def plan(
    store: StateStore,
    allocations: dict[SliceKey, SliceAllocation],
    *,
    todo: tuple[Step, ...] = (),
    leaving: tuple[SliceKey, ...] = (),
    counters: Counters | None = None,
) -> Plan:
    """Form a plan from the state as it is now."""
    snapshot = store.read()
    return Plan(
        tool="1",
        lineage=snapshot.lineage,
        serial=snapshot.serial,
        slices=tuple(sorted({*allocations, *leaving})),
        changes=(),
        steps=todo,
        counts=Counts(),
        counters=counters or snapshot.counters,
        allocations=allocations,
    )


def done(todo: tuple[Step, ...]) -> tuple[StepResult, ...]:
    """Say of each step that it did what it was to do."""
    return tuple(StepResult(step, StepStatus.DONE) for step in todo)


def perform(store: StateStore, made: Plan) -> ApplyId:
    """Apply a plan in the state alone, as if every host did its part."""
    apply = store.begin(made, ANNA, "digest")
    store.intend(apply, made.steps)
    store.record(apply, done(made.steps))
    store.finish(apply, "done", 0)
    return apply


def resource_states(store: StateStore) -> dict[Address, ResourceState]:
    return dict(store.read().resources)


NOUNS: tuple[Resource, ...] = (
    image(),
    router(),
    port(100),
    Uplink(
        address=address(Uplink, "network"),
        slice=None,
        host=NETWORK,
        bridge="br-int",
        interface="up400",
        vlan=VlanId(400),
        ip="10.60.7.1/24",
        mac="52:54:00:00:00:02",
        uplink="ens3",
        dns=("9.9.9.9", "1.1.1.1"),
    ),
    Trunk(
        address=address(Trunk, f"{LAB1}@worker1"),
        slice=LAB1,
        host=WORKER,
        bridge="br-int",
        port="trunk0",
        vlans=(VlanId(100), VlanId(101)),
        gateway_mac=None,
    ),
    Reservation(
        address=address(Reservation, f"{LAB1}/a"),
        slice=LAB1,
        host=NETWORK,
        needs=(address(Uplink, "network"),),
        mac="52:54:00:00:00:03",
        ip="10.60.7.10",
        hostname="a",
    ),
    Segment(
        address=address(Segment, f"{LAB1}/a:eth1--b:eth1"),
        slice=LAB1,
        host=NETWORK,
        needs=(address(Router, LAB1),),
        bridge="br-int",
        namespace="rt-1000",
        interface="sg1",
        vlan=VlanId(100),
        ip="192.168.100.1/24",
        gateway=True,
        dhcp=True,
        mtu=1450,
        leases=(Lease("52:54:00:00:00:04", "192.168.100.10", "a", default_route=True),),
    ),
    Disk(
        address=address(Disk, f"{LAB1}/a"),
        slice=LAB1,
        host=WORKER,
        path="/disks/a.qcow2",
        backing="/img/cirros-0",
        size=Bytes(2**30),
    ),
    Vm(
        address=address(Vm, f"{LAB1}/a"),
        slice=LAB1,
        host=WORKER,
        needs=(address(Disk, f"{LAB1}/a"),),
        after=(address(Port, f"{LAB1}/a:eth1"),),
        vm_id=VmId(1001),
        directory="/run/a",
        disk="/disks/a.qcow2",
        vcpus=1,
        memory=Bytes(2**28),
        nics=(Nic("t1001-0", "52:54:00:00:00:03"), Nic("t1001-1", "52:54:00:00:00:04")),
        vnc=5901,
        accelerator="kvm",
    ),
)
