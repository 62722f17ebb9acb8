"""Hold that starting the command line loads none of the libraries that cost more than planning a slice."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("alembic", "asyncssh", "deepdiff", "networkx", "psycopg", "sqlalchemy")  # 0.2 s and more each


def test_starting_the_command_line_loads_no_heavy_library() -> None:
    script = "import sys, reconciler.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "reconciler.cli" in loaded
    assert not loaded.intersection(HEAVY)
