"""Measures what docs/performance.md promises, and prints each figure next to its target."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import planning
from tests.bench.figures import Figure, table, to_json

Bench = Callable[[Path], list[Figure]]

BENCHES: dict[str, Bench] = {
    "cold": lambda folder: planning.cold_plan(folder, slices=1000, times=3),
    "start": lambda folder: planning.one_slice(folder, times=7),
    "more": lambda folder: planning.one_more(folder, slices=190, times=5),
}
"""Every bench by the name that `run.py NAME...` takes."""


def main(arguments: Sequence[str]) -> int:
    """Run the benches that are named, or all; returns 0 also where targets are missed: it tests nothing."""
    parser = argparse.ArgumentParser(description="Measure, and compare with the targets.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHES)} (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON on standard output")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.names) - BENCHES.keys():
        parser.error(f"no bench is called {', '.join(sorted(unknown))}")
    figures: list[Figure] = []
    for name in asked.names or BENCHES:
        sys.stderr.write(f"bench: {name} (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)\n")
        with TemporaryDirectory(prefix="bench-") as folder:
            figures += BENCHES[name](Path(folder))
    sys.stdout.write(to_json(figures) if asked.json else table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
