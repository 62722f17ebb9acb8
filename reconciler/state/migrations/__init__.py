"""Upgrades a database to the newest schema with alembic, within the caller's transaction."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from reconciler.state import revisions

SCRIPTS = Path(__file__).parent
"""Where the migrations are: `env.py`, and one script for each revision under `versions`."""

_TURN: Final = threading.Lock()
"""Alembic's operations are one object for the whole process, so only one thread may run migrations at a time."""


def configuration(connection: Connection) -> Config:
    """Return alembic's configuration for one connection; there is no ini file, because a wheel would not contain it."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Run the migrations that a database lacks; if the transaction fails, the old schema is kept."""
    with _TURN:
        command.upgrade(configuration(connection), revisions.KNOWN[-1])
