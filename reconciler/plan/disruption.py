"""Finds the VMs that a plan disturbs although it does not change them: by a link or a base image of theirs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from reconciler.plan.graph import ends, natural
from reconciler.plan.model import Action, Change, Disturbance
from reconciler.plan.resources import KINDS, GraphRole, Resource, address
from reconciler.plan.snapshot import SliceAllocation
from reconciler.spec.models.names import Address, LinkKey, SliceKey


def disturbances(
    changes: Sequence[Change], before: Mapping[SliceKey, SliceAllocation], existing: AbstractSet[Address]
) -> tuple[tuple[Disturbance, ...], int]:
    """Return the VMs that are disturbed although unchanged, and how many existing links are interrupted.

    `existing` are the resources of the state: a VM that was never created cannot be disturbed.
    """
    by_slice: dict[SliceKey, list[Change]] = {}
    others = [change for change in changes if change.action is not Action.CREATE]
    if not others:
        return (), 0
    changed = {change.address for change in changes}
    for change in others:
        if change.subject.slice is not None:
            by_slice.setdefault(SliceKey(change.subject.slice), []).append(change)
    disturbed = list(_on_restored_images(others, before, changed))
    count = 0
    for key in sorted(by_slice, key=natural):
        if key in before:
            interrupted = _interrupted(key, by_slice[key], before[key].links, existing)
            disturbed.extend(_unchanged_ends(key, existing - changed, interrupted))
            count += len(interrupted)
    return tuple(disturbed), count


def _of_role(role: GraphRole) -> list[type[Resource]]:
    return [noun for noun in KINDS.values() if noun.graph_role is role]


def _on_restored_images(
    changes: Iterable[Change], before: Mapping[SliceKey, SliceAllocation], changed: Collection[Address]
) -> Iterator[Disturbance]:
    """Find the VMs of whichever slice whose base image was changed on its host and is restored.

    The right bytes come in a new file, and what was written to overlays stays. But QEMU keeps open the file that it
    started with. If that is the changed one, the guest reads the right bytes only after a restart.
    """
    restored = {change.address for change in changes if _rewrites_base(change)}
    for key in sorted(before if restored else (), key=natural):
        for name, vm in before[key].vms.items():
            for base in _of_role(GraphRole.BASE):
                image = address(base, f"{vm.image}@{vm.worker}")
                for where in _nodes(key, name):
                    if image in restored and where not in changed:
                        reason = f"may have read {image} as changed: restart it with --replace {where}"
                        yield Disturbance(where, key, reason)


def _nodes(key: SliceKey, vm: str) -> list[Address]:
    return [address(noun, f"{key}/{vm}") for noun in _of_role(GraphRole.NODE)]


def _ends(key: SliceKey, vm: str, nic: int) -> list[Address]:
    return [address(noun, f"{key}/{vm}:eth{nic}") for noun in _of_role(GraphRole.END)]


def _rewrites_base(change: Change) -> bool:
    return change.subject.graph_role is GraphRole.BASE and change.in_place and change.touches("sha256")


def _interrupted(
    key: SliceKey, changes: Iterable[Change], links: Collection[LinkKey], existing: Collection[Address]
) -> dict[LinkKey, str]:
    """Find the existing links that go down for a VM that stays, each with its cause."""
    nics = {nic for link in links for _, nic in ends(link)}
    down = {
        change.address: change
        for change in changes
        if change.subject.graph_role is not GraphRole.NONE
        and any(change.subject.interrupts_link(change, nic) for nic in nics)
    }
    if not down:
        return {}
    staying = {where for where in existing if where not in down or down[where].action is not Action.DELETE}
    from reconciler.plan.link_graph import link_graph  # noqa: PLC0415 - networkx takes 0.2 s; most plans disturb nothing

    found: dict[LinkKey, str] = {}
    for one, other, name in link_graph(links).edges(keys=True):
        link = LinkKey(name)
        if staying.isdisjoint(where for vm in (one, other) for where in _nodes(key, vm)):
            continue
        at = [(where, nic) for vm, nic in ends(link) for where in _nodes(key, vm)]
        at += [(where, nic) for vm, nic in ends(link) for where in _ends(key, vm, nic)]
        causes = ((down[where], nic) for where, nic in at if where in down)
        if cause := next((each for each, nic in causes if each.subject.interrupts_link(each, nic)), None):
            found[link] = _cause(cause)
    return found


def _cause(change: Change) -> str:
    """Say what takes a link down."""
    name = change.address.partition("/")[2]
    match change.action:
        case Action.DELETE:
            return f"{name} goes"
        case Action.REPLACE:
            return f"{name} is replaced"
        case _ if change.subject.graph_role is GraphRole.END:
            return f"{name} is unplugged"
        case _:
            return f"{name} restarts" if change.restarts else f"{name} gets another address"


def _unchanged_ends(
    key: SliceKey, unchanged: Collection[Address], interrupted: Mapping[LinkKey, str]
) -> Iterable[Disturbance]:
    seen: dict[str, str] = {}
    for link in sorted(interrupted, key=natural):
        for vm, nic in ends(link):
            seen.setdefault(vm, f"eth{nic} goes down: {interrupted[link]}")
    for name in sorted(seen, key=natural):
        for where in _nodes(key, name):
            if where in unchanged:
                yield Disturbance(where, key, seen[name])
