"""Measures what docs/performance.md promises, and prints each figure next to its target."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import applying, breadth, planning, verifying
from tests.bench.figures import Figure, table, to_json

Bench = Callable[[Path], list[Figure]]

BENCHES: dict[str, Bench] = {
    "cold": lambda folder: planning.cold_plan(folder, slices=1000, times=3),
    "start": lambda folder: planning.one_slice(folder, times=7),
    "more": lambda folder: planning.one_more(folder, slices=190, times=5),
    "apply": lambda folder: applying.apply_slices(folder, sizes=(6, 15, 30), times=3),
    "verify": lambda folder: verifying.verify_slices(folder, sizes=(10, 30, 50), times=3),
    "hosts": lambda folder: breadth.many_hosts(folder, times=3, others=False),
    "others": lambda folder: breadth.many_hosts(folder, times=3, others=True),
}
"""Every bench by the name that `run.py NAME...` takes."""

ON_REQUEST = frozenset({"others"})
"""Benches that run only when named: this one installs two other tools, and waits for them."""


def main(arguments: Sequence[str]) -> int:
    """Run the benches that are named, or all; returns 0 also where targets are missed: it tests nothing."""
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
