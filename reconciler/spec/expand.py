"""Expands a slice: fills in group settings and defaults once, so that every reader sees complete VMs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Final

from reconciler.spec.models.cluster import Flavor
from reconciler.spec.models.names import Bytes, SliceKey, VmName, slice_key
from reconciler.spec.models.secret import Secret
from reconciler.spec.models.slice import Link, Slice, Vm, VmDefaults
from reconciler.spec.yaml.document import Path

_SHARED_FIELDS: Final = tuple(name for name in VmDefaults.model_fields if name != "labels")
_values = attrgetter("worker", "group", *_SHARED_FIELDS)


@dataclass(frozen=True, slots=True)
class ExpandedVm:
    """A VM with the settings of its group and of `defaults`; a field is None if no layer of the file sets it.

    Memory and disk are in bytes. VMs of a slice that have the same settings share one instance.
    """

    flavor: str | None = None
    image: str | None = None
    vcpus: int | None = None
    memory: Bytes | None = None
    disk: Bytes | None = None
    interfaces: int | None = None
    internet: bool | None = None
    cloud_init: Secret | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    worker: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class ExpandedSlice:
    """A slice as planners and checks read it: every VM and link is listed, and every VM is complete.

    `written` is the slice as the file has it; only `origin`, and the checks of the file's own layers, read it.
    `renamed_from` is the name that the slice had, and `former_names` are those that VMs had, by their names now.
    """

    name: str
    owner: str
    topology: str
    labels: Mapping[str, str]
    vlans: int | None
    vms: Mapping[VmName, ExpandedVm]
    links: tuple[Link, ...]
    written: Slice = field(repr=False, compare=False)
    renamed_from: str | None = None
    former_names: Mapping[VmName, VmName] = field(default_factory=dict)

    @property
    def key(self) -> SliceKey:
        """The slice's identity, `owner/name`."""
        return slice_key(self.owner, self.name)

    def origin(self, path: Path) -> Path:
        """Return the path in the file that an expanded value comes from, such as `defaults.flavor` for a VM's flavor.

        A value that no layer of the file sets has its own path as its origin.
        """
        match path:
            case ("vms", str(name), str(setting), *rest) if name in self.written.vms:
                for where, layer in reversed(list(_layers(self.written, name, self.written.vms[name]))):
                    if setting in layer.model_fields_set and (not rest or rest[0] in getattr(layer, setting)):
                        return (*where, setting, *rest)
            case _:
                pass
        return path


def expand(written: Slice) -> ExpandedSlice:
    """Return a slice with every VM complete."""
    known: dict[tuple[object, ...], ExpandedVm] = {}
    vms: dict[VmName, ExpandedVm] = {}
    for name, vm in written.vms.items():
        settings = (_values(vm), tuple(vm.labels.items()))
        found = known.get(settings)
        if found is None:
            found = known[settings] = _merge(written, name, vm)
        vms[VmName(name)] = found
    return ExpandedSlice(
        name=written.name,
        owner=written.owner,
        topology=written.topology,
        labels=written.labels,
        vlans=written.vlans,
        vms=vms,
        links=written.links,
        written=written,
        renamed_from=written.renamed_from,
        former_names={VmName(name): VmName(vm.renamed_from) for name, vm in written.vms.items() if vm.renamed_from},
    )


def with_flavor(vm: ExpandedVm, flavors: Mapping[str, Flavor]) -> ExpandedVm:
    """Fill in the image, vCPUs, memory and disk that a VM gets from its flavor; its own settings win."""
    flavor = flavors.get(vm.flavor) if vm.flavor else None
    if flavor is None:
        return vm
    return replace(
        vm,
        image=vm.image or flavor.image,
        vcpus=vm.vcpus or flavor.vcpus,
        memory=vm.memory or flavor.memory,
        disk=vm.disk or flavor.disk,
    )


def _layers(written: Slice, name: str, vm: Vm) -> Iterator[tuple[Path, VmDefaults]]:
    """Yield the parts of a file that give a VM its settings, with their paths; later parts win.

    A VM of an unknown group has its own settings only: what the group would override is not known.
    """
    if vm.group is None or vm.group in written.groups:
        yield ("defaults",), written.defaults
    if vm.group is not None and vm.group in written.groups:
        yield ("groups", vm.group), written.groups[vm.group]
    yield ("vms", name), vm


def _merge(written: Slice, name: str, vm: Vm) -> ExpandedVm:
    """Return a VM's settings from all layers: the nearest layer that sets a field wins, by null too; labels add up."""
    merged: dict[str, Any] = {}
    labels: dict[str, str] = {}
    for _, layer in _layers(written, name, vm):
        given = layer.model_fields_set
        merged.update({each: getattr(layer, each) for each in _SHARED_FIELDS if each in given})
        labels.update(layer.labels)
    return ExpandedVm(**merged, labels=labels, worker=vm.worker, group=vm.group)
