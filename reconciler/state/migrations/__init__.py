"""Brings a database to the newest schema with alembic, within the caller's transaction; it opens none itself."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from reconciler.state.sql import schema

SCRIPTS = Path(__file__).parent
"""Where the migrations are: `env.py`, and one script for each revision under `versions`."""

_TURN: Final = threading.Lock()
"""Alembic's operations are one object for the whole process: threads that ran migrations at once would mix them up."""


def configuration(connection: Connection) -> Config:
    """Return alembic's configuration for one connection; there is no ini file, since none would be in a wheel."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Run the migrations that a database lacks; it keeps its old schema where the transaction fails."""
    with _TURN:
        command.upgrade(configuration(connection), schema.REVISIONS[-1])
