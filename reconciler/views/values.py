"""How resources and their values look in a plan: the essence of each in a line, sizes with units, absences in words."""

from __future__ import annotations

from typing import Any

from reconciler.plan.resources import Resource, to_data
from reconciler.spec.models.fields import format_size

_SIZES = {"memory", "size"}
_SECRETS = frozenset({"cloud_init"})
"""Attributes that hold the digest of a secret: it says nothing to people, and is not shown to them."""

_ESSENCE: dict[str, tuple[str, ...]] = {
    "image": ("path",),
    "uplink": ("vlan", "ip", "uplink"),
    "router": ("namespace",),
    "trunk": ("port", "vlans"),
    "reservation": ("ip", "mac"),
    "segment": ("vlan", "ip", "dhcp", "gateway"),
    "disk": ("size", "backing"),
    "seed": ("path", "cloud_init"),
    "port": ("tap", "mac", "vlan"),
    "vm": ("vm_id", "vcpus", "memory", "vnc"),
}


def essence(resource: Resource) -> str:
    """Return what a reviewer wants to know of a new resource, in one line; the JSON form has it all."""
    data = to_data(resource)
    return ", ".join(f"{name} {show_value(name, data[name])}" for name in _ESSENCE[resource.kind])


def show_change(name: str, before: Any, after: Any) -> tuple[str, str]:
    """Write the two values of an attribute that differ; of a secret, that the second is another."""
    written = show_value(name, before), show_value(name, after)
    return (written[0], "another") if name in _SECRETS and written[0] == written[1] else written


def show_value(name: str, value: Any) -> str:
    """Write a value as people would."""
    if value is None or name in _SECRETS:
        return "none" if value is None else "(secret)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in _SIZES and isinstance(value, int):
        return format_size(value)
    if isinstance(value, list):
        return ", ".join(show_value("", item) for item in value) or "none"
    if isinstance(value, dict):
        words = [str(item) for item in value.values() if not isinstance(item, bool)]
        flags = [key.replace("_", " ") for key, item in value.items() if item is True]
        return " ".join(words + flags)
    return str(value)
