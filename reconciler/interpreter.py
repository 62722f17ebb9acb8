"""Sets up the Python interpreter of a program that runs for a short time and makes many objects."""

from __future__ import annotations

import gc
import os
from typing import Final

_THRESHOLDS: Final = (1_000_000, 50, 100)

_NO_PLUGINS: Final = ("PYDANTIC_DISABLE_PLUGINS", "__all__")


def set_up() -> None:
    """Collect garbage rarely, and skip pydantic's search for plugins; call it before the large imports.

    Modules and plans are many small objects that live until the end: scanning them takes a third of importing and half
    of planning. The search for plugins reads the metadata of every installed package.
    """
    gc.set_threshold(*_THRESHOLDS)
    os.environ.setdefault(*_NO_PLUGINS)


def leave() -> None:
    """Skip the last search for garbage when the interpreter ends, a fifth of a short command."""
    gc.freeze()
