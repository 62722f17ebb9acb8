"""Draws the slices that a merge touches as a Mermaid flowchart: what is new, changed, and removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from reconciler.plan.graph import ends
from reconciler.plan.model import Action
from reconciler.plan.resources import GraphRole
from reconciler.plan.snapshot import SliceAllocation
from reconciler.spec.models.names import SliceKey
from reconciler.views.preview import SliceChanges, changed_slices

if TYPE_CHECKING:
    from reconciler.workflow.preview import Preview

MOST_VMS = 40
"""A picture of more VMs is not drawn: nobody could read it."""

_STYLES = (
    "classDef create stroke:#2da44e,stroke-width:3px",
    "classDef update stroke:#bf8700,stroke-width:3px",
    "classDef replace stroke:#bf8700,stroke-width:3px,stroke-dasharray:4",
    "classDef delete stroke:#cf222e,stroke-width:3px,stroke-dasharray:4",
)


def mermaid(found: Preview) -> str:
    """Return the picture, or nothing if no slice changes or they have too many VMs."""
    changed = [one for one in changed_slices(found) if one.key is not None]
    allocations = {} if found.plan is None else {**found.before, **found.plan.allocations}
    drawn = [(one, allocations[SliceKey(one.key or "")]) for one in changed if one.key in allocations]
    if not drawn or sum(len(given.vms) for _, given in drawn) > MOST_VMS:
        return ""
    lines = ["graph LR"]
    for number, (one, given) in enumerate(drawn):
        lines += [f'  subgraph s{number}["{one.key}"]', *_slice(f"s{number}", one, given), "  end"]
    return "\n".join([*lines, *(f"  {style}" for style in _STYLES)]) + "\n"


def _slice(prefix: str, one: SliceChanges, given: SliceAllocation) -> Iterator[str]:
    actions = _actions(one)
    nodes = {name: f"{prefix}v{number}" for number, name in enumerate(given.vms)}
    for name, vm in given.vms.items():
        action = actions.get(f"{one.key}/{name}")
        yield f'    {nodes[name]}["{name}<br/>{vm.worker}"]{f":::{action}" if action else ""}'
    for key, link in given.links.items():
        first, second = (nodes.get(vm) for vm, _ in ends(key))
        if first is not None and second is not None:
            yield f'    {first} -- "VLAN {link.vlan}<br/>{link.subnet}" --- {second}'


def _actions(one: SliceChanges) -> Mapping[str, Action]:
    return {change.name: change.action for change in one.changes if change.subject.graph_role is GraphRole.NODE}
