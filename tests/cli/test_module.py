"""`python -m reconciler` is the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reconciler import __version__


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [(["--version"], 0, __version__), (["--help"], 0, "reconciler"), (["none"], 1, "error[usage]")],
)
def test_the_module_is_the_command_line(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", *arguments], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Usage: reconciler" in done.stdout or "__main__" not in done.stdout + done.stderr
