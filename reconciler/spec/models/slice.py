"""Defines the model of a slice file, with an update policy on each field."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from reconciler.spec.models.fields import Ipv4Net, Model, Size, UpdatePolicy, Version
from reconciler.spec.models.names import INTERFACE_PATTERN, MAX_INTERFACES, NAME_PATTERN, Name, SliceKey, slice_key
from reconciler.spec.models.secret import UserData

LIVE, GROW, RESTART, RECREATE, IMMUTABLE = UpdatePolicy
_ENDPOINT = re.compile(rf"(?P<vm>{NAME_PATTERN})(?::(?P<interface>{INTERFACE_PATTERN}))?")


class Endpoint(NamedTuple):
    """An endpoint of a link: a VM and its data interface, or None for the next free interface."""

    vm: str
    interface: str | None = None

    def __str__(self) -> str:
        """Write it as the file does."""
        return self.vm if self.interface is None else f"{self.vm}:{self.interface}"


def parse_endpoint(value: Any) -> Endpoint:
    """Read `web` or `web:eth1`; raises ValueError for anything else."""
    if isinstance(value, Endpoint):
        return value
    if isinstance(value, str) and (found := _endpoint(value)):
        return found
    if isinstance(value, str) and value.endswith(":eth0"):
        msg = "eth0 is the internet interface and cannot be part of a link; use eth1 or higher"
    else:
        msg = "write an endpoint as a VM's name, or as name:eth1"
    raise ValueError(msg)


@lru_cache(maxsize=2**16)  # slices have endpoints in common: vm1:eth1, vm1:eth2, ...
def _endpoint(text: str) -> Endpoint | None:
    match = _ENDPOINT.fullmatch(text)
    return Endpoint(match["vm"], match["interface"]) if match else None


EndpointField = Annotated[
    Endpoint,
    PlainValidator(parse_endpoint),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN}(:{INTERFACE_PATTERN})?$"}),
]


class VmDefaults(Model):
    """The settings that `defaults`, a group and a VM can set; a VM overrides its group, a group the defaults."""

    flavor: Annotated[Name | None, RECREATE] = Field(default=None, description="a flavor of the cluster file")
    image: Annotated[Name | None, RECREATE] = Field(
        default=None, description="an image of the cluster file; default: the flavor's"
    )
    vcpus: Annotated[int | None, RESTART] = Field(
        default=None, ge=1, le=256, description="virtual CPUs; default: the flavor's"
    )
    memory: Annotated[Size | None, RESTART] = Field(
        default=None, description="memory, such as 512MiB; default: the flavor's"
    )
    disk: Annotated[Size | None, GROW] = Field(
        default=None, description="size of the disk, such as 4GiB; default: the flavor's"
    )
    interfaces: Annotated[int | None, RESTART] = Field(
        None, ge=0, le=MAX_INTERFACES, description="data interfaces eth1 and up; default: as many as its links need"
    )
    internet: Annotated[bool | None, LIVE] = Field(default=None, description="connect eth0 to the internet VLAN")
    cloud_init: Annotated[UserData | None, RESTART] = Field(
        default=None, description="cloud-init user-data, as text or as {file: path}; it is a secret and never shown"
    )
    labels: Annotated[dict[str, str], LIVE] = Field(
        default_factory=dict, description="free text for people and programs"
    )


class Vm(VmDefaults):
    """One VM of a slice."""

    worker: Annotated[Name | None, RESTART] = Field(
        default=None,
        description="the worker that it must run on, to which it moves with its disk; default: chosen by the placement "
        "policy",
    )
    group: Annotated[Name | None, LIVE] = Field(
        default=None, description="a group of this file that it takes settings from"
    )
    renamed_from: Annotated[Name | None, LIVE] = Field(
        default=None, description="the name that this VM had in this slice; it keeps its disk, its numbers, its links"
    )


class Link(Model):
    """A layer-2 link between two VMs; `[a:eth1, b:eth1]` is short for `{endpoints: [a:eth1, b:eth1]}`."""

    endpoints: Annotated[tuple[EndpointField, EndpointField], RECREATE] = Field(strict=False)
    dhcp: Annotated[bool, LIVE] = Field(default=True, description="the slice's router answers DHCP on this link")
    gateway: Annotated[bool, LIVE] = Field(default=True, description="the slice's router has an address on this link")
    subnet: Annotated[Ipv4Net | None, RECREATE] = Field(default=None, description="an IPv4 network; default: allocated")
    mtu: Annotated[int, LIVE] = Field(default=1500, ge=576, le=9000, description="largest packet in bytes")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"endpoints": value} if isinstance(value, list) else value


class Slice(Model):
    """A slice file: one virtual network topology of one owner."""

    version: Annotated[Version, LIVE] = Field(description="1, the version of the file format")
    name: Annotated[Name, IMMUTABLE] = Field(description="unique per owner")
    owner: Annotated[Name, IMMUTABLE] = Field(description="a user of the cluster file")
    renamed_from: Annotated[Name | None, LIVE] = Field(
        default=None, description="the name that this slice had; all that exists of it is kept, and its VMs run on"
    )
    topology: Annotated[Literal["custom"], LIVE] = Field(
        default="custom", description="custom: the file lists VMs and links"
    )
    labels: Annotated[dict[str, str], LIVE] = Field(
        default_factory=dict, description="free text for people and programs"
    )
    vlans: Annotated[int | None, LIVE] = Field(default=None, ge=1, le=4094, description="size of the VLAN pool")
    defaults: Annotated[VmDefaults, LIVE] = Field(default_factory=VmDefaults, description="settings of all VMs")
    groups: Annotated[dict[Name, VmDefaults], LIVE] = Field(
        default_factory=dict, description="settings of the VMs in each group"
    )
    vms: Annotated[dict[Name, Vm], LIVE] = Field(default_factory=dict)
    links: Annotated[tuple[Link, ...], LIVE] = Field(default=(), strict=False)

    @property
    def key(self) -> SliceKey:
        """The slice's identity, `owner/name`."""
        return slice_key(self.owner, self.name)
