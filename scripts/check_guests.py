"""Checks from inside the guests of a lab that a slice's link and its path to the internet carry traffic.

Usage: `reconciler show SLICE --json | python scripts/check_guests.py LAB`. The last line quotes the guests. If a check
fails, the exit code is 1 and the message has the guest's output.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from reconciler.errors import LabError
from reconciler.lab import Guest, guest_of

WEB_SERVER = "203.0.113.10"  # the lab's internet; the address is RFC 5737's, for documentation


@dataclass(frozen=True)
class Vm:
    """A VM of the slice as its worker's lab host carries it."""

    name: str
    worker: str
    guest: Guest

    def address(self, interface: str) -> str:
        """Wait until the guest has booted and has an address there."""
        self.guest.wait_for_shell()
        return self.guest.address(interface)

    def run(self, command: str) -> str:
        """Run a command in the guest, showing both the command and what it printed."""
        print(f"\n{self.name}# {command}")
        printed = self.guest.run(command)
        print(printed)
        return printed


def check_guests(lab: str, slice_: dict[str, Any]) -> str:
    """Return the closing line; raises LabError if a guest does not answer or its command fails."""
    vms = {
        each["name"]: Vm(each["name"], each["worker"], guest_of(lab, each["worker"], each["id"]))
        for each in slice_["vms"]
    }
    addresses = {
        (each["name"], nic["name"]): vms[each["name"]].address(nic["name"])
        for each in slice_["vms"]
        for nic in each["nics"]
        if nic["ip"]
    }
    link = slice_["links"][0]
    (far, interface), (near, _) = (end.split(":") for end in link["key"].split("--"))
    here, there = vms[near], vms[far]
    pinged = here.run(f"ping -c 3 {addresses[far, interface]}")
    online = next(vms[vm] for vm, nic in addresses if nic == "eth0")
    page = online.run(f"wget -q -O - http://{WEB_SERVER}/")
    return (
        f"Checked: {here.name} on {here.worker} reaches {there.name} on {there.worker} over VLAN {link['vlan']}"
        f" ({_last_of(pinged, 'packets')}), and {online.name} downloads from {WEB_SERVER} through NAT"
        f" ({page.strip()!r})."
    )


def _last_of(printed: str, word: str) -> str:
    return [line for line in printed.splitlines() if word in line][-1]


if __name__ == "__main__":
    try:
        print("\n" + check_guests(sys.argv[1], json.load(sys.stdin)))
    except LabError as error:
        sys.exit(f"error[{error.code}]: {error.summary}")
