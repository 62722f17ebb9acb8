"""Says where caches are, and when they are worth reading. Deleting them loses nothing but time."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

import platformdirs

FEW: Final = 20
"""So many slice files are read and planned without caches: that is faster than reading them."""

MAX_BYTES: Final = 2**28
"""A larger cache is not read: 100 times what 1,000 files of 10 VMs take."""


def cache_place(sort: str, cluster: Path) -> Path:
    """Return the place of a cache of this sort for one cluster file; RECONCILER_CACHE_DIR is the folder of all."""
    chosen = os.environ.get("RECONCILER_CACHE_DIR")
    folder = Path(chosen) if chosen else platformdirs.user_cache_path("reconciler")
    name = hashlib.sha256(os.fsencode(cluster.absolute())).hexdigest()[:32]
    return folder / sort / f"{name}.json"
