"""Whom a change disturbs: VMs that stay as they are while a link or the base image of theirs changes under them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

import networkx as nx

from reconciler.plan.graph import ends, link_graph, natural
from reconciler.plan.model import Action, Change, Disturbance
from reconciler.plan.resources import Image, Port, Vm, address
from reconciler.plan.snapshot import SliceAllocation
from reconciler.spec.models.names import Address, LinkKey, SliceKey, VmName


def disturbances(
    changes: Sequence[Change], before: Mapping[SliceKey, SliceAllocation], standing: AbstractSet[Address]
) -> tuple[tuple[Disturbance, ...], int]:
    """Return the VMs that are disturbed though unchanged, and how many standing links are interrupted.

    `standing` are the resources on record: a VM that was never made has nothing that could be disturbed.
    """
    by_slice: dict[SliceKey, list[Change]] = {}
    changed: set[Address] = set()
    for change in changes:
        changed.add(change.address)
        if change.action is not Action.CREATE and change.subject.slice is not None:
            by_slice.setdefault(SliceKey(change.subject.slice), []).append(change)
    disturbed = list(_on_changed_images(changes, before, changed))
    count = 0
    for key in sorted(by_slice, key=natural):
        if key in before:
            interrupted = _interrupted(key, by_slice[key], link_graph(before[key].links), standing)
            disturbed.extend(_unchanged_ends(key, standing - changed, interrupted))
            count += len(interrupted)
    return tuple(disturbed), count


def _on_changed_images(
    changes: Iterable[Change], before: Mapping[SliceKey, SliceAllocation], changed: Collection[Address]
) -> Iterator[Disturbance]:
    """Find the VMs whose base image was changed by other hands, in whichever slice.

    The right bytes come in a new file, and what was written to overlays stays. But QEMU holds the file that it began
    with: where that is the one that was changed, only a restart makes the guest see the right bytes again.
    """
    mended = {change.address for change in changes if change.subject.kind == Image.kind and _rewrites(change)}
    for key in sorted(before if mended else (), key=natural):
        for name, vm in before[key].vms.items():
            where, image = address(Vm, f"{key}/{name}"), address(Image, f"{vm.image}@{vm.worker}")
            if image in mended and where not in changed:
                yield Disturbance(where, key, f"may have read {image} as changed: restart it with --replace {where}")


def _rewrites(change: Change) -> bool:
    return change.action is Action.UPDATE and any(item.name == "sha256" for item in change.attributes)


def _interrupted(
    key: SliceKey, changes: Iterable[Change], graph: nx.MultiGraph[VmName], standing: Collection[Address]
) -> dict[LinkKey, str]:
    """Find the standing links that go down for a VM that lives on, each with its cause."""
    down = {
        change.address: change
        for change in changes
        if (change.subject.kind == Vm.kind and (change.action is not Action.UPDATE or change.restarts))
        or (change.subject.kind == Port.kind and _unplugs(change))
    }
    living = {where for where in standing if where not in down or down[where].action is not Action.DELETE}
    found: dict[LinkKey, str] = {}
    for one, other, name in graph.edges(keys=True):
        link = LinkKey(name)
        if living.isdisjoint(address(Vm, f"{key}/{vm}") for vm in (one, other)):
            continue
        causes = [address(Vm, f"{key}/{vm}") for vm in (one, other)]
        causes += [address(Port, f"{key}/{vm}:eth{nic}") for vm, nic in ends(link)]
        if cause := next((down[where] for where in causes if where in down), None):
            found[link] = _words(cause)
    return found


def _unplugs(change: Change) -> bool:
    return change.action is not Action.UPDATE or any(item.name == "vlan" for item in change.attributes)


def _words(cause: Change) -> str:
    name = cause.address.partition("/")[2]
    verb = {Action.DELETE: "goes", Action.REPLACE: "is replaced"}.get(cause.action)
    if cause.subject.kind == Port.kind and verb is None:
        return f"{name} is unplugged"
    return f"{name} {verb or 'restarts'}"


def _unchanged_ends(
    key: SliceKey, unchanged: Collection[Address], interrupted: Mapping[LinkKey, str]
) -> Iterable[Disturbance]:
    seen: dict[str, str] = {}
    for link in sorted(interrupted, key=natural):
        for vm, nic in ends(link):
            seen.setdefault(vm, f"eth{nic} goes down: {interrupted[link]}")
    for name in sorted(seen, key=natural):
        where = address(Vm, f"{key}/{name}")
        if where in unchanged:
            yield Disturbance(where, key, seen[name])
