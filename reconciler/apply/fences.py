"""Reads the fences of a host: which records ever applied there, under which locks; writing them is a batch's part.

A fence file bears its record's lineage as its name. Each line is a token and the name of a lock: a slice, or `@shared`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from reconciler.apply.command import Result, script
from reconciler.apply.drivers import answers
from reconciler.plan.resources import ROOT

FENCES: Final = f"{ROOT}/fence"
"""Where the fence files of a host are."""

_LINEAGE: Final = re.compile(r"[A-Za-z0-9-]+")

# The name of each file, its lines after a `+` each, and a dot.
_LIST = """
for path in "$1"/*; do
    [ -f "$path" ] || continue
    printf '%s\\n' "${path##*/}"
    while IFS= read -r line || [ -n "$line" ]; do printf '+%s\\n' "$line"; done < "$path"
    echo .
done
"""

LIST_FENCES: Final = script(_LIST, FENCES)
"""The command that reads them all."""


def parse_fences(host: str, result: Result) -> Mapping[str, frozenset[str]]:
    """Return the names of the locks that each record has held there, by its lineage."""
    found: dict[str, frozenset[str]] = {}
    name, locks = "", set[str]()
    for line in answers.text(host, result).splitlines():
        if line.startswith("+"):
            locks.add(line[1:].partition(" ")[2].strip())
        elif line != ".":
            name = line
        else:
            if _LINEAGE.fullmatch(name):
                found[name] = frozenset(locks)
            locks = set()
    return found
