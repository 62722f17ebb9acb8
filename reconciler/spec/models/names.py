"""Defines distinct types for names and numbers, and the patterns of names."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, NewType

from pydantic import StringConstraints

SliceName = NewType("SliceName", str)
"""A slice's name, unique within its owner."""

OwnerName = NewType("OwnerName", str)
"""A user of the cluster file."""

SliceKey = NewType("SliceKey", str)
"""`owner/slice`: the identity of a slice in the state, in plans and in tags."""

VmName = NewType("VmName", str)
"""A VM's name, unique within its slice."""

LinkKey = NewType("LinkKey", str)
"""`vm:ethN--vm:ethN` with sorted endpoints: the identity of a link within its slice."""

HostName = NewType("HostName", str)
"""A worker's or the network node's name in the cluster file."""

Address = NewType("Address", str)
"""The identity of a resource in the state, in plans and in tags, such as `alice/lab1/web:eth1`."""

SliceId = NewType("SliceId", int)
"""Counts from 1000; never allocated twice."""

VmId = NewType("VmId", int)
"""Counts from 1001; never allocated twice."""

LinkId = NewType("LinkId", int)
"""Counts from 1; never allocated twice."""

VlanId = NewType("VlanId", int)
"""An IEEE 802.1Q VLAN id, 1 to 4094."""

Bytes = NewType("Bytes", int)
"""A size in bytes."""

BitRate = NewType("BitRate", int)
"""Bits in a second."""

NAME_PATTERN = r"[a-z][a-z0-9-]{0,30}"
"""Names of slices, VMs, owners, hosts, groups, flavors and images: safe in paths, host names and tags."""

INTERFACE_PATTERN = r"eth[1-9][0-9]?"
"""A data interface; eth0 is the internet interface and never part of a link."""

MAX_INTERFACES = 28
"""Data interfaces of one VM at most: QEMU's PCI bus has 32 slots, and disk, eth0 and chipset take some."""

Name = Annotated[str, StringConstraints(pattern=rf"^{NAME_PATTERN}$")]
"""A name in a file, checked against NAME_PATTERN."""


_CONFUSABLE = str.maketrans("01i", "oll")


@lru_cache(maxsize=2**16)  # slices have names in common: vm1, vm2, ...
def skeleton(name: str) -> str:
    """Return the skeleton of a name: names with the same skeleton look alike (0 and o; 1, l and i; -- and -)."""
    return re.sub("-+", "-", name.translate(_CONFUSABLE)).strip("-")


def slice_key(owner: str, name: str) -> SliceKey:
    """Return the identity of a slice."""
    return SliceKey(f"{owner}/{name}")


def link_key(one: str, other: str) -> LinkKey:
    """Return the identity of a link between two endpoints (`vm:ethN`), in either order."""
    first, second = sorted((one, other))
    return LinkKey(f"{first}--{second}")
