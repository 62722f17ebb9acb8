"""Parses the output of `ip -json`, finds overlapping routes, and quotes interface names for nftables rules."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.errors import HostError

# Prints the first route of this host into a network, or into one around it that is directly connected. Routes of the
# given interface do not count.
OVERLAP = """
overlap() {
    {
        ip -4 -o route show root "$1"
        ip -4 -o route show match "$1" scope link
        ip -4 -o route show table local root "$1"
    } | grep -v -e '^default' -e " dev $2 " | head -n 1
}
"""

_INTERFACE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,14}")


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface: its MAC, MTU, whether it is up, and its IPv4 addresses with their prefix lengths."""

    mac: str
    mtu: int
    up: bool
    addresses: tuple[str, ...]


def parse_links(host: str, text: str) -> Mapping[str, Link]:
    """Read `ip -json address show`, by interface. Empty text means no interfaces."""
    if not text:
        return {}
    try:
        return {
            entry["ifname"]: Link(
                mac=entry.get("address", ""),
                mtu=entry["mtu"],
                up="UP" in entry["flags"],
                addresses=tuple(
                    f"{one['local']}/{one['prefixlen']}" for one in entry["addr_info"] if one.get("family") == "inet"
                ),
            )
            for entry in json.loads(text)
            if "ifname" in entry
        }
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(host, f"ip printed something unexpected: {error}") from error


def literal(interface: str) -> str:
    """Return an interface's name as a string of nft(8); raises ValueError if the kernel does not allow it."""
    if not _INTERFACE.fullmatch(interface):
        msg = f"{interface!r} cannot be the name of a network interface"
        raise ValueError(msg)
    return f'"{interface}"'


def parse_set(host: str, text: str) -> list[Any]:
    """Return the elements of a set, as `nft -j` lists them; none if there is no such set."""
    if not text:
        return []
    try:
        sets = [entry["set"] for entry in json.loads(text)["nftables"] if "set" in entry]
        return [element for one in sets for element in one.get("elem", [])]
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(host, f"nft printed something unexpected: {error}") from error
