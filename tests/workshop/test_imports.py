"""Hold that starting the command line loads none of the libraries that cost more than planning a slice."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("alembic", "asyncssh", "deepdiff", "networkx", "psycopg", "sqlalchemy", "urllib3")  # 0.2 s and more each
RUN = """
import atexit, sys
from reconciler.cli import main
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
main()
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["plan", "--help"], ["lab", "--help"], ["comment", "github", "--help"]], ids=" ".join
)
def test_loads_no_heavy_library(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], check=False, capture_output=True, text=True)
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "reconciler.cli" in loaded
    assert not loaded.intersection(HEAVY)
