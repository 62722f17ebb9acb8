"""Shell text that finds the programs which listen on ports of a host, other than those of VMs and routers."""

from __future__ import annotations

from typing import Final

OTHERS: Final = """
others() {
    key=$1
    shift
    ss -Hlnp "$@" 2> /dev/null | while read -r line; do
        pid=${line##*pid=}
        if ! grep -qsF "$root/" "/proc/${pid%%,*}/cmdline"; then say "$key" "$line"; fi
    done
}
"""
"""Defines `others KEY FILTER...`: it says the lines of ss(8), without processes that have `$root/` in an argument."""


def local_address(line: str) -> tuple[str, str]:
    """Return the address and the port of a line of ss(8); empty if it has none."""
    parts = line.split()
    address, _, port = (parts[3] if len(parts) > 3 else "").rpartition(":")  # noqa: PLR2004 - state, two queues, address
    return address, port


def program(line: str) -> str | None:
    """Return the program of a line of ss(8), if it names one."""
    return line.partition('(("')[2].partition('"')[0] or None
