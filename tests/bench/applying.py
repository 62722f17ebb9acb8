"""Measures apply: against the same commands run as plain shell scripts, and where there is nothing to do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from statistics import median

from reconciler import lab as labs
from reconciler.spec.models.names import slice_key
from reconciler.state.sql.store import open_store
from tests.bench import hosts, plain
from tests.bench.figures import Figure
from tests.bench.hosts import Went
from tests.bench.topologies import slice_text

_WORKERS = 3
"""The rings are spread over this many workers; the lab may have more."""
_TOKENS = 1000
"""More fencing tokens than one copy of a state gives out."""


@dataclass(frozen=True, slots=True)
class _Ground:
    """A lab that has images and uplink, and a state file that holds only those."""

    lab: labs.LabInfo
    folder: Path
    saved: Path
    copies: Iterator[int] = field(default_factory=lambda: count(1))

    def state(self, name: str) -> Path:
        """Return a fresh copy of the state, which gives the same numbers to the same slice.

        Hosts refuse tokens below the highest that they have seen from this lineage, so each copy begins above all
        that earlier copies gave out.
        """
        path = Path(shutil.copy(self.saved, self.folder / f"{name}.db"))
        with closing(open_store(path, cluster=self.lab.name, clock=lambda: datetime.now(UTC))) as store:
            store.outgrow(next(self.copies) * _TOKENS)
        return path


@dataclass(frozen=True, slots=True)
class _Round:
    """Seconds to apply one slice by the reconciler and by scripts; and applies where all exists, in state or not."""

    ours: float
    scripts: float
    ours_sent: int
    again: Went
    adopted: Went


def apply_slices(lab: labs.LabInfo, folder: Path, sizes: tuple[int, ...], times: int) -> list[Figure]:
    """Apply rings of paused guests to three workers: first by the reconciler, then by scripts, then both again."""
    ground = _prepare(lab, folder)
    rounds = {size: [_round(ground, size) for _ in range(times)] for size in sizes}
    hosts.apply(lab.cluster_file, ground.state("last"), destroy=(slice_key("admin", "ground"),))
    figures = [_against_scripts(size, taken) for size, taken in rounds.items()]
    return [*figures, *_nothing_to_do(rounds[sizes[-1]], sizes[-1])]


def _prepare(lab: labs.LabInfo, folder: Path) -> _Ground:
    """Apply a slice with a guest on the internet VLAN on every worker, so that images and uplink exist."""
    lines = ["version: 1", "name: ground", "owner: admin", "defaults: {flavor: cirros, internet: true}", "vms:"]
    lines += [f"  vm{number}: {{worker: worker{number}}}" for number in range(1, _WORKERS + 1)]
    ground = folder / "ground.yaml"
    ground.write_text("\n".join(lines) + "\n")
    saved = folder / "ground.db"
    with plain.collected({}):
        hosts.apply(lab.cluster_file, saved, ground)
    return _Ground(lab, folder, saved)


def _round(ground: _Ground, size: int) -> _Round:
    """Apply, apply again, destroy; then the same by scripts, adopt what they made, destroy."""
    cluster, name = ground.lab.cluster_file, f"ring{size}"
    path = ground.folder / f"{name}.yaml"
    path.write_text(slice_text(name, size, (1,)))
    key = slice_key("admin", name)
    commands: plain.Commands = {}
    state = ground.state("ours")
    with plain.collected(commands):
        ours = hosts.apply(cluster, state, path)
    again = hosts.apply(cluster, state, path)
    hosts.apply(cluster, state, destroy=(key,))
    scripts = plain.run_plainly(ground.lab, commands)
    state = ground.state("scripts")
    adopted = hosts.apply(cluster, state, path)
    hosts.apply(cluster, state, destroy=(key,))
    return _Round(ours.seconds, scripts, max(ours.sent.works.values()), again, adopted)


def _against_scripts(size: int, rounds: list[_Round]) -> Figure:
    ours, scripts = median(one.ours for one in rounds), median(one.scripts for one in rounds)
    ratio = median(one.ours / one.scripts for one in rounds)
    note = f"{ours:.2f} s against {scripts:.2f} s; at most {max(one.ours_sent for one in rounds)} batches a host"
    return Figure(f"apply of {size} VMs and {size} links, against plain scripts", ratio, "times", 1.2, note=note)


def _nothing_to_do(rounds: list[_Round], size: int) -> list[Figure]:
    again, adopted = rounds[0].again, rounds[0].adopted
    seconds = median(one.adopted.seconds for one in rounds)
    return [
        Figure(
            f"apply of {size} VMs that are in the state: batches a host",
            max([*again.sent.probes.values(), *again.sent.works.values()], default=0),
            "",
            1,
            note=f"{median(one.again.seconds for one in rounds):.3f} s in a running process",
        ),
        Figure(
            f"apply of {size} VMs that exist but are not in the state: batches a host",
            max(adopted.sent.probes.values()) + max(adopted.sent.works.values(), default=0),
            "",
            1,
            note=f"{seconds:.2f} s; {adopted.sent.works.total()} of them may change something",
        ),
    ]
