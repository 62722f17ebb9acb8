"""Names and numbers that must never be mixed up, and the patterns that users' names follow; pure declarations."""

from __future__ import annotations

import re
from typing import Annotated, NewType

from pydantic import StringConstraints

SliceName = NewType("SliceName", str)
"""A slice's name, unique within its owner."""

OwnerName = NewType("OwnerName", str)
"""A user of the cluster file."""

SliceKey = NewType("SliceKey", str)
"""`owner/slice`: a slice's identity in state, plans and tags."""

VmName = NewType("VmName", str)
"""A VM's name, unique within its slice."""

LinkKey = NewType("LinkKey", str)
"""`vm:ethN--vm:ethN`, ends sorted: a link's identity within its slice."""

HostName = NewType("HostName", str)
"""A worker's or the network node's name in the cluster file."""

Address = NewType("Address", str)
"""The identity of a resource across plans, state and tags, such as `alice/lab1/web:eth1`."""

SliceId = NewType("SliceId", int)
"""Counts from 1000; never given twice."""

VmId = NewType("VmId", int)
"""Counts from 1001; never given twice."""

LinkId = NewType("LinkId", int)
"""Counts from 1; never given twice."""

VlanId = NewType("VlanId", int)
"""An IEEE 802.1Q VLAN id, 1 to 4094."""

Bytes = NewType("Bytes", int)
"""A size in bytes."""

NAME_PATTERN = r"[a-z][a-z0-9-]{0,30}"
"""What slices, VMs, owners, hosts, groups, flavors and images may be called: safe in a path, a host name and a tag."""

INTERFACE_PATTERN = r"eth[1-9][0-9]?"
"""A data interface; eth0 is the internet interface and never part of a link."""

MAX_INTERFACES = 28
"""Data interfaces of one VM: what fits on QEMU's PCI bus beside the disk, eth0 and the chipset (32 slots)."""

Name = Annotated[str, StringConstraints(pattern=rf"^{NAME_PATTERN}$")]
"""A user's name for a thing, checked."""


_LOOK = str.maketrans("01i", "oll")


def look(name: str) -> str:
    """Return how a name looks at a glance: names with the same look are mistaken for one another (0 o, 1 l i, -- -)."""
    return re.sub("-+", "-", name.translate(_LOOK)).strip("-")


def slice_key(owner: str, name: str) -> SliceKey:
    """Join an owner and a slice's name into the slice's identity."""
    return SliceKey(f"{owner}/{name}")


def link_key(one: str, other: str) -> LinkKey:
    """Join two ends (`vm:ethN`) into the link's identity, whichever way round they were written."""
    first, second = sorted((one, other))
    return LinkKey(f"{first}--{second}")
