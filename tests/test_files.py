"""The atomic file writer: modes, errors, and what a reader sees while a writer is killed."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reconciler.errors import Code, FileWriteError
from reconciler.files import SHARED, replacing, write_file

WRITER = """
import sys
from pathlib import Path
from reconciler.files import write_file
path = Path(sys.argv[1])
for number in range(1_000_000):
    write_file(path, str(number % 10) * 300_000)
    print(number, flush=True)
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_private_unless_asked_otherwise(tmp_path: Path) -> None:
    old = tmp_path / "plan.json"
    old.write_text("old")
    old.chmod(0o644)
    write_file(old, "grün")
    assert (old.read_bytes(), mode(old)) == ("grün".encode(), 0o600)
    assert list(tmp_path.iterdir()) == [old]


def test_a_shared_file_has_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "cluster.yaml", b"name: lab\n", mode=SHARED)
    finally:
        os.umask(before)
    assert mode(tmp_path / "cluster.yaml") == 0o640


def test_the_file_is_replaced_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("old")
    with replacing(path) as fresh:
        fresh.write_text("new")
        assert (path.read_text(), fresh.parent) == ("old", tmp_path)
    assert path.read_text() == "new"


def test_a_block_that_raises_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as fresh:
            fresh.write_text("new")
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        fail()
    assert [(each, each.read_text()) for each in tmp_path.iterdir()] == [(path, "old")]


def test_a_write_that_fails_half_way_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("old")
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(FileWriteError, match=r"lab\.yaml cannot be written: File too large") as caught:
            write_file(path, "new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.code is Code.FILE_UNWRITABLE
    assert [(each, each.read_text()) for each in tmp_path.iterdir()] == [(path, "old")]


@pytest.mark.parametrize("name", ["none/lab.yaml", "lab.yaml/below", "a\0b", "/", "x" * 256])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "lab.yaml").write_text("old")
    with pytest.raises(FileWriteError, match=r"cannot be written|is not a valid file name"):
        write_file(tmp_path / name, "text")
    assert [each.name for each in tmp_path.iterdir()] == ["lab.yaml"]


def test_a_killed_writer_leaves_one_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    for wait in (0.0, 0.003, 0.011, 0.017):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(wait)
            writer.send_signal(signal.SIGKILL)
        text = path.read_text()
        assert len(text) == 300_000
        assert len(set(text)) == 1
