"""Writes to hosts that a state holds the lock of a slice, as a batch of an apply does."""

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
    """Return the lineage of a site's state."""
    return str(json.loads(site.do("state", "export").out)["lineage"])


@contextmanager
def fenced(site: Site, lock: str, *hosts: str) -> Iterator[str]:
    """Write to hosts, if they do not know it, that a site's state held a lock there; yield the lineage of the state."""
    lineage = lineage_of(site)
    made = [host for host in hosts if on_host(site.lab, host, _WRITE.format(lineage=lineage, lock=lock))]
    try:
        yield lineage
    finally:
        for host in made:
            on_host(site.lab, host, _UNDO.format(lineage=lineage))
