"""Measures what docs/performance.md promises, and prints each figure beside its target."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from reconciler import lab as labs
from tests.bench import applying, breadth, hosts, planning, scheduling, verifying
from tests.bench.figures import Figure, table, to_json

Bench = Callable[[Path], list[Figure]]


def _on_lab(workers: int, bench: Callable[[labs.LabInfo, Path], list[Figure]]) -> Bench:
    """Return a bench that makes a lab, and removes it afterwards."""

    def run(folder: Path) -> list[Figure]:
        with hosts.lab(workers) as lab:
            return bench(lab, folder)

    return run


BENCHES: dict[str, Bench] = {
    "cold": lambda folder: planning.cold_plan(folder, slices=1000, times=3),
    "start": lambda folder: planning.one_slice(folder, times=7),
    "more": lambda folder: planning.one_more(folder, slices=190, times=5),
    "scheduling": lambda _: scheduling.figures(),
    "apply": _on_lab(3, lambda lab, folder: applying.apply_slices(lab, folder, sizes=(6, 15, 30), times=3)),
    "verify": _on_lab(3, lambda lab, folder: verifying.verify_slices(lab, folder, sizes=(10, 30, 50), times=3)),
    "hosts": _on_lab(9, lambda lab, folder: breadth.many_hosts(lab, folder, steps=100, times=3)),
    "others": _on_lab(9, lambda lab, folder: breadth.many_hosts(lab, folder, steps=100, times=3, others=True)),
}
"""Every bench by the name that `run.py NAME...` takes."""

ON_REQUEST = frozenset({"others"})
"""Benches that run only when named, because they install other tools and take minutes."""


def main(arguments: Sequence[str]) -> int:
    """Run the named benches, or all; return 0 even if targets are missed."""
    parser = argparse.ArgumentParser(description="Measure, and compare with the targets.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHES)} (default: all but {', '.join(ON_REQUEST)})"
    )
    parser.add_argument("--json", action="store_true", help="print JSON on standard output")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.names) - BENCHES.keys():
        parser.error(f"no bench is called {', '.join(sorted(unknown))}")
    figures: list[Figure] = []
    for name in asked.names or [name for name in BENCHES if name not in ON_REQUEST]:
        sys.stderr.write(f"bench: {name} (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)\n")
        with TemporaryDirectory(prefix="bench-") as folder:
            figures += BENCHES[name](Path(folder))
    sys.stdout.write(to_json(figures) if asked.json else table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
