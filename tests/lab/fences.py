"""Puts a record's claim to a slice on hosts by hand, as a batch of an apply would; what it means is the tests'."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.site import Site, on_host

_WRITE = """
mkdir -p /var/lib/reconciler/fence
[ -e /var/lib/reconciler/fence/{lineage} ] && exit
echo '1 {lock}' > /var/lib/reconciler/fence/{lineage}
echo new
"""
_UNDO = "rm /var/lib/reconciler/fence/{lineage}; rmdir --ignore-fail-on-non-empty /var/lib/reconciler/fence"


def lineage_of(site: Site) -> str:
    """Return what tells a site's record from every other."""
    return str(json.loads(site.do("state", "export").out)["lineage"])


@contextmanager
def fenced(site: Site, lock: str, *hosts: str) -> Iterator[str]:
    """Have hosts know that a site's record held a lock there, where they do not already; yield the record's lineage."""
    lineage = lineage_of(site)
    made = [host for host in hosts if on_host(site.lab, host, _WRITE.format(lineage=lineage, lock=lock))]
    try:
        yield lineage
    finally:
        for host in made:
            on_host(site.lab, host, _UNDO.format(lineage=lineage))
