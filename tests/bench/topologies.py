"""Writes generated cluster and slice files of any size; the same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

VMS = 10
SLICES_PER_CLUSTER = 167
"""802.1Q has 4094 VLANs: at twenty to a slice, a cluster's range holds 194 slices, so a thousand need six clusters."""


def cluster_text(name: str, workers: int = 40) -> str:
    """Return a cluster file without limits, whose hosts nobody contacts."""
    nodes = ", ".join(f"{{name: worker{number}, address: 10.1.{number}.1}}" for number in range(1, workers + 1))
    return (
        "version: 1\n"
        f"name: {name}\n"
        f"workers: [{nodes}]\n"
        "network_node: {name: gateway, address: 10.1.255.254, uplink: ens3}\n"
        "bridge: {name: br-int, trunk: ens4}\n"
        "vlans: {range: 100-3999, per_slice: 20}\n"
        f'images: {{cirros: {{file: cirros.qcow2, sha256: "{"0" * 64}"}}}}\n'
        "flavors: {cirros: {image: cirros, vcpus: 1, memory: 256MiB, disk: 1GiB}}\n"
        "users: {admin: {}}\n"
    )


def slice_text(name: str, vms: int = VMS, distances: Sequence[int] = (1, 2)) -> str:
    """Return a slice file: VMs in a circle, each linked to those at these distances: `vms * len(distances)` links."""
    lines = ["version: 1", f"name: {name}", "owner: admin", f"vlans: {max(20, vms * len(distances))}"]
    lines += ["defaults: {flavor: cirros}", "vms:", *(f"  vm{number}: {{}}" for number in range(1, vms + 1)), "links:"]
    free = [1] * vms
    for distance in distances:
        for one in range(vms):
            other = (one + distance) % vms
            lines.append(f"  - [vm{one + 1}:eth{free[one]}, vm{other + 1}:eth{free[other]}]")
            free[one] += 1
            free[other] += 1
    return "\n".join(lines) + "\n"


def write_cluster(folder: Path, name: str, slices: Sequence[str]) -> Path:
    """Write a cluster file, and beside it a file for each slice of these names; returns the folder."""
    folder.mkdir(parents=True)
    (folder / "cluster.yaml").write_text(cluster_text(name))
    for each in slices:
        (folder / f"{each}.yaml").write_text(slice_text(each))
    return folder


def write_campuses(folder: Path, slices: int) -> list[Path]:
    """Write so many slices, spread over as many clusters as they need; returns the clusters' folders."""
    names = [f"slice{number}" for number in range(1, slices + 1)]
    starts = range(0, slices, SLICES_PER_CLUSTER)
    return [
        write_cluster(folder / f"campus{number}", f"campus{number}", names[start : start + SLICES_PER_CLUSTER])
        for number, start in enumerate(starts, 1)
    ]
