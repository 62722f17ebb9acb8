"""Defines where drivers keep files on a host, and checks every name that becomes part of a path."""

from __future__ import annotations

from pathlib import PurePosixPath

from reconciler.plan.resources import ROOT

CLAIMS = f"{ROOT}/claims"
"""Tags of TAPs that have none yet: a file is written before a TAP is created, and deleted when the TAP is tagged."""

FLOWS = f"{ROOT}/flows"
"""The keeper of our flows, which loads them again when the switch restarts, and the flows of each bridge."""

UPLINK = f"{ROOT}/uplink"
"""Files of the internet gateway: of its DHCP server, and the settings from before it existed."""

RESERVATIONS = f"{UPLINK}/hosts.d"
"""One file for each address that is reserved on the internet VLAN."""


def beneath(directory: str, name: str) -> str:
    """Return the path of an entry of a directory; raises ValueError if the name leads elsewhere."""
    if name in {"", ".", ".."} or "/" in name or not name.isprintable():
        msg = f"{name!r} cannot be the name of a file"
        raise ValueError(msg)
    return f"{directory}/{name}"


def router(namespace: str) -> str:
    """Return the directory of a router: its owner, its DHCP server's configuration, and the rules as loaded."""
    return beneath(f"{ROOT}/routers", namespace)


def fragment(namespace: str, interface: str) -> str:
    """Return the path of a segment's part of its router's DHCP configuration."""
    return beneath(f"{router(namespace)}/conf.d", f"{interface}.conf")


def parent(path: str) -> str:
    """Return the directory of a path."""
    return str(PurePosixPath(path).parent)
