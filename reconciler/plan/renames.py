"""Finds slices and VMs that were renamed, and gives what the state has of them its new name.

Nothing of a resource changes but its address: numbers, paths and digests are kept. Its objects on hosts have the former
address as their tag until a step of the plan changes that, so the resource remembers its former addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler.errors import PlanError
from reconciler.plan.graph import ends, natural
from reconciler.plan.immutable import immutable
from reconciler.plan.resources import Resource
from reconciler.plan.snapshot import Claim, LinkAllocation, ResourceState, SliceAllocation, StateSnapshot, VmAllocation
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, LinkKey, SliceKey, VmName, link_key
from reconciler.spec.renames import former_keys


@immutable
class Rename:
    """A slice that the state has as `former` and that is now `key`, and the former and the new names of its VMs.

    Only VMs are renamed where both keys are the same.
    """

    former: SliceKey
    key: SliceKey
    vms: tuple[tuple[VmName, VmName], ...] = ()

    def vm(self, name: VmName) -> VmName:
        """Return what a VM is called now."""
        return dict(self.vms).get(name, name)


def find_renames(
    cluster: Cluster, slices: Iterable[ExpandedSlice], allocations: Mapping[SliceKey, SliceAllocation]
) -> tuple[Rename, ...]:
    """Return what the state has under a former name. A rename that the state has already is none any more."""
    found = [_rename(cluster, whole, allocations) for whole in sorted(slices, key=lambda each: natural(each.key))]
    return tuple(rename for rename in found if rename is not None)


def _rename(cluster: Cluster, whole: ExpandedSlice, allocations: Mapping[SliceKey, SliceAllocation]) -> Rename | None:
    known = [key for key in (whole.key, *former_keys(cluster, whole)) if key in allocations]
    if not known:
        return None
    had = allocations[known[0]].vms
    vms = tuple(
        (former, name) for name, former in sorted(whole.former_names.items()) if former in had and name not in had
    )
    return Rename(known[0], whole.key, vms) if vms or known[0] != whole.key else None


def ambiguous(
    cluster: Cluster, whole: ExpandedSlice, allocations: Mapping[SliceKey, SliceAllocation]
) -> Iterator[tuple[VmName | None, str]]:
    """Yield why the state does not tell what a slice, or a VM of it, was: it has something of each of two names."""
    known = [key for key in (whole.key, *former_keys(cluster, whole)) if key in allocations]
    if len(known) > 1:
        yield None, f"slice {whole.key} cannot be renamed from {known[1]}: the state has {known[0]} too"
    had = allocations[known[0]].vms if known else {}
    for name, former in sorted(whole.former_names.items()):
        if former in had and name in had:
            yield name, f"VM {name} cannot be renamed from {former}: the state has both in {known[0]}"


def refuse_names_in_use(slices: Iterable[ExpandedSlice], state: StateSnapshot) -> None:
    """Raise PlanError if a slice is new, and something on a host still has its name, which was another one's.

    A host tells two trunks apart by this name alone.
    """
    fresh = {whole.key for whole in slices} - state.allocations.keys()
    for entry in state.resources.values() if fresh else ():
        left = entry.resource
        for key in sorted(fresh & former_slices(left)):
            raise PlanError(
                f"{key} was renamed to {left.slice}, and {left.host} still has {left.address} under the former name",
                hint=f"apply {left.slice} first",
            )


def heirs(slices: Iterable[ExpandedSlice], state: StateSnapshot) -> set[SliceKey]:
    """Return the slices that had the name of a slice that is new."""
    fresh = {whole.key for whole in slices} - state.allocations.keys()
    return {key for key, had in state.allocations.items() if not fresh.isdisjoint(had.formerly)} if fresh else set()


def renamed_state(state: StateSnapshot, renames: Sequence[Rename]) -> StateSnapshot:
    """Return the state after these renames."""
    if not renames:
        return state
    by_key = {rename.former: rename for rename in renames}
    allocations = {
        (by_key[key].key if key in by_key else key): renamed_allocation(had, by_key[key]) if key in by_key else had
        for key, had in state.allocations.items()
    }
    held = {
        (by_key[key].key if key in by_key else key): (
            frozenset(renamed_claim(claim, by_key[key]) for claim in claims) if key in by_key else claims
        )
        for key, claims in state.held.items()
    }
    resources = dict[Address, ResourceState]()
    for where, entry in state.resources.items():
        rename = by_key.get(SliceKey(entry.resource.slice or ""))
        now = entry if rename is None else renamed_entry(entry, rename)
        resources[where if rename is None else now.resource.address] = now
    return replace(state, allocations=allocations, held=held, resources=resources)


def renamed_claim(claim: Claim, rename: Rename) -> Claim:
    """Return a claim of the slice under its new name."""
    return claim._replace(scope=rename.key) if claim.scope == rename.former else claim


def renamed_allocation(had: SliceAllocation, rename: Rename) -> SliceAllocation:
    """Return a slice's numbers under its new names. What was made from the former names is kept with them."""
    return replace(
        had,
        formerly=had.formerly if rename.former == rename.key else (*had.formerly, rename.former),
        vms={rename.vm(name): _renamed_vm(name, vm, rename) for name, vm in had.vms.items()},
        links=dict(_renamed_link(key, link, rename) for key, link in had.links.items()),
    )


def _renamed_vm(name: VmName, vm: VmAllocation, rename: Rename) -> VmAllocation:
    return vm if rename.vm(name) == name else replace(vm, file=vm.file or name)


def _renamed_link(key: LinkKey, link: LinkAllocation, rename: Rename) -> tuple[LinkKey, LinkAllocation]:
    """Return a link under its new key. Its ends are sorted by name, and keep their addresses if their order changes."""
    now = _renamed_key(key, rename)
    swaps = now.startswith(f"{rename.vm(ends(key)[1][0])}:")
    return now, replace(link, swapped=not link.swapped) if swaps else link


def _renamed_key(key: LinkKey, rename: Rename) -> LinkKey:
    one, other = (f"{rename.vm(vm)}:eth{number}" for vm, number in ends(key))
    return link_key(one, other)


def renamed_entry(entry: ResourceState, rename: Rename) -> ResourceState:
    """Return what the state has of a resource of the slice, under its new address."""
    pending = None if entry.pending is None else _renamed_resource(entry.pending, rename)
    return replace(entry, resource=_renamed_resource(entry.resource, rename), pending=pending)


def _renamed_resource(resource: Resource, rename: Rename) -> Resource:
    """Return a resource under its new address; it remembers the former ones, which its objects may have as tags."""
    now = renamed_address(resource.address, rename)
    former = [where for where in (*resource.formerly, resource.address) if where != now]
    return replace(
        resource,
        address=now,
        slice=rename.key,
        formerly=tuple(dict.fromkeys(former)),
        needs=tuple(renamed_address(where, rename) for where in resource.needs),
        after=tuple(renamed_address(where, rename) for where in resource.after),
    )


def renamed_address(where: Address, rename: Rename) -> Address:
    """Return the new address of a resource; one of another slice, or one that slices share, stays as it is."""
    kind, _, name = where.partition("/")
    rest = name.removeprefix(rename.former)
    if not name.startswith(rename.former) or rest[:1] not in {"", "/", "@"}:
        return where
    if rest.startswith("/"):
        rest = f"/{_renamed_element(rest[1:], rename)}"
    return Address(f"{kind}/{rename.key}{rest}")


def _renamed_element(name: str, rename: Rename) -> str:
    """Return the new name of a VM, of its NIC (`web:eth1`), or of a link (`web:eth1--db:eth1`)."""
    try:
        return _renamed_key(LinkKey(name), rename)
    except ValueError:
        vm, colon, nic = name.partition(":")
        return f"{rename.vm(VmName(vm))}{colon}{nic}"


def former_slices(resource: Resource) -> set[SliceKey]:
    """Return the keys that a resource's slice had before renames that its objects may not show yet."""
    names = (where.partition("/")[2].split("/") for where in resource.formerly)
    keys = {SliceKey(f"{owner}/{rest.partition('@')[0]}") for owner, rest, *_ in names}
    return keys - {resource.slice}
