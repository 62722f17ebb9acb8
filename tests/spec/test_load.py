"""Loading: which files are read, size limits, and every problem of every file."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import time
from pathlib import Path

import pytest

from reconciler.errors import Code, Location, SpecError
from reconciler.spec.check.files import check
from reconciler.spec.load import (
    load_cluster,
    load_slices,
    parse_cluster,
    parse_slice,
)
from reconciler.spec.tree import MAX_BYTES, FileTree
from reconciler.trees import DISK, DiskTree, find_cluster

EXAMPLES = Path(__file__).parents[2] / "examples"
SLICE = "version: 1\nname: {name}\nowner: admin\n"


def problems(*paths: Path | str, tree: FileTree = DISK) -> list[tuple[Code, str]]:
    with pytest.raises(SpecError) as raised:
        load_slices(tree, paths)
    return [(problem.code, problem.summary) for problem in raised.value.problems()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three slices at three depths, a cluster file, and files that are not slices."""
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    for name, where in {"one": "b.yaml", "two": "deep/a.yml", "three": "deep/deeper/c.yaml"}.items():
        (tmp_path / where).write_text(SLICE.format(name=name))
    (tmp_path / "cluster.yaml").write_text((EXAMPLES / "cluster.yaml").read_text())
    (tmp_path / ".hidden.yaml").write_text("[")
    (tmp_path / ".git" / "config.yaml").write_text("[")
    (tmp_path / "README.md").write_text("[")
    return tmp_path


def test_the_examples_have_no_problem() -> None:
    for folder, names in (
        (EXAMPLES / "topologies", {"two-vms", "triangle", "line"}),
        (EXAMPLES / "gitops" / "slices", {"routing", "web"}),
    ):
        slices = load_slices(DISK, [folder])
        assert {file.slice.name for file in slices} >= names
        assert check(load_cluster(DISK, folder.parent / "cluster.yaml"), slices) == ()


def test_a_folder_is_read_to_any_depth(folder: Path) -> None:
    files = load_slices(DISK, [folder])
    assert [Path(file.path).relative_to(folder).as_posix() for file in files] == [
        "b.yaml",
        "deep/a.yml",
        "deep/deeper/c.yaml",
    ]
    assert [file.slice.name for file in files] == ["one", "two", "three"]


def test_the_order_given_changes_nothing(folder: Path) -> None:
    paths = [folder / "b.yaml", folder / "deep", folder / "deep/deeper/c.yaml"]
    loaded = {tuple(file.path for file in load_slices(DISK, order)) for order in itertools.permutations(paths)}
    assert len(loaded) == 1


def test_a_file_named_twice_is_read_once(folder: Path) -> None:
    assert len(load_slices(DISK, [folder, folder / "b.yaml", folder / "deep" / ".." / "b.yaml"])) == 3


def test_the_digest_is_of_the_bytes(folder: Path) -> None:
    file = load_slices(DISK, [folder / "b.yaml"])[0]
    assert file.digest == hashlib.sha256((folder / "b.yaml").read_bytes()).hexdigest()
    assert parse_slice(file.source.text, "other name").digest == file.digest


def test_an_empty_folder_has_no_slices(tmp_path: Path) -> None:
    assert load_slices(DISK, [tmp_path]) == ()
    assert load_slices(DISK, []) == ()


def test_a_cluster_file_given_as_a_slice_says_so_and_the_reverse(folder: Path) -> None:
    (found,) = problems(folder / "cluster.yaml")
    assert found == (Code.WRONG_TYPE, f"{folder / 'cluster.yaml'} is a cluster file, not a slice file")
    with pytest.raises(SpecError) as caught:
        load_cluster(DISK, folder / "b.yaml")
    (problem,) = caught.value.problems()
    assert problem.summary == f"{folder / 'b.yaml'} is a slice file, not a cluster file"
    assert problem.hint == "name the cluster file with --cluster"


@pytest.mark.parametrize(
    "text",
    [
        "name: shop\nservices:\n  web: {image: nginx}\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n",
        "- hosts: all\n  tasks: []\n",
    ],
    ids=["Compose", "Kubernetes", "Ansible"],
)
def test_files_of_other_tools_in_a_folder_are_left_out(folder: Path, text: str) -> None:
    before = load_slices(DISK, [folder])
    (folder / "docker-compose.yml").write_text(text)
    assert load_slices(DISK, [folder]) == before
    ((code, summary),) = problems(folder / "docker-compose.yml")
    assert (code, summary.endswith(", not a slice file")) == (Code.WRONG_TYPE, True), summary


CANARY = "canary: of-the-operator"


@pytest.fixture
def elsewhere(folder: Path) -> Path:
    """Put a file beside the folder of slices, and a hidden one into it, which no slice may show."""
    slices = folder / "deep"
    (folder / "secret.yaml").write_text(CANARY)
    (slices / ".git").mkdir()
    (slices / ".git" / "config").write_text(CANARY)
    return slices


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("../secret.yaml", "this is a link to a file outside of its folder"),
        (".git/config", "this is a link to a hidden file"),
        ("/proc/self/environ", "this is a link to a file outside of its folder"),
    ],
)
def test_a_link_in_a_folder_leads_nowhere_else(elsewhere: Path, target: str, reason: str) -> None:
    (elsewhere / "innocent.yaml").symlink_to(target)
    with pytest.raises(SpecError) as raised:
        load_slices(DISK, [elsewhere])
    (problem,) = raised.value.problems()
    assert (problem.code, problem.summary, problem.excerpt) == (Code.FILE_UNREADABLE, reason, None)
    assert CANARY not in str(raised.value.problems())


def test_a_link_within_its_folder_is_followed(elsewhere: Path) -> None:
    before = len(load_slices(DISK, [elsewhere]))
    (elsewhere / "again.yaml").symlink_to("a.yml")
    assert len(load_slices(DISK, [elsewhere])) == before, "and the file is read once"


@pytest.mark.parametrize("name", [".git/config", ".hidden.yaml", "/proc/self/environ", "/dev/null"])
def test_hidden_files_and_those_of_the_kernel_are_refused_unread(elsewhere: Path, name: str) -> None:
    (elsewhere / ".hidden.yaml").write_text(CANARY)
    with pytest.raises(SpecError) as raised:
        load_slices(DISK, [elsewhere / name])
    (problem,) = raised.value.problems()
    assert (problem.code, problem.excerpt) == (Code.FILE_UNREADABLE, None)
    assert CANARY not in str(raised.value.problems())


@pytest.mark.parametrize("text", ["- vms\n", "vmz: {}\n", "services: {}\nowner: admin\n", "kind: slice\n", "{}\n"])
def test_what_may_be_a_broken_slice_is_never_left_out(folder: Path, text: str) -> None:
    (folder / "broken.yaml").write_text(text)
    assert problems(folder) != []


def test_a_missing_file_is_a_problem_and_the_others_are_read(folder: Path) -> None:
    (folder / "bad.yaml").write_text("version: 2\nname: a\nowner: admin\n")
    assert problems(folder / "nothing.yaml", folder) == [
        (Code.WRONG_VALUE, "version must be 1, not the number 2"),
        (Code.FILE_UNREADABLE, "no such file or folder"),
    ]


@pytest.mark.parametrize(
    ("content", "code", "summary", "line", "column"),
    [
        (b"\xef\xbb\xbfversion: 1\n", Code.YAML_FEATURE, "the file starts with a byte order mark (U+FEFF)", 1, 1),
        (b"version: 1\nna\x00me: a\n", Code.YAML_FEATURE, "the file contains the control character U+0000", 2, 3),
        (b"version: 1\nname: \x1b[31m\n", Code.YAML_FEATURE, "the file contains the control character U+001B", 2, 7),
        (b"version: 1\rname: a\r", Code.YAML_FEATURE, "the file contains the control character U+000D", 1, 11),
        ("owner: ä".encode("latin-1"), Code.FILE_UNREADABLE, "not valid UTF-8: unexpected byte 0xe4", 1, 8),
        ("é: é\n ü".encode() + b"\xff", Code.FILE_UNREADABLE, "not valid UTF-8: unexpected byte 0xff", 2, 3),
        ("version: 1".encode("utf-16"), Code.FILE_UNREADABLE, "not valid UTF-8: unexpected byte 0xff", 1, 1),
        (bytes(range(256)), Code.FILE_UNREADABLE, "not valid UTF-8: unexpected byte 0x80", 2, 118),
        (b"x" * (MAX_BYTES + 1), Code.FILE_UNREADABLE, "this file is larger than 1 MiB", 1, 1),
    ],
    ids=["bom", "nul", "escape", "carriage-return", "latin-1", "late-byte", "utf-16", "binary", "large"],
)
def test_files_that_are_not_valid_text(
    tmp_path: Path, content: bytes, code: Code, summary: str, line: int, column: int
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError) as raised:
        load_slices(DISK, [path])
    (problem,) = raised.value.problems()
    assert (problem.code, problem.summary) == (code, summary)
    assert problem.location == Location(str(path), line, column)


def test_a_file_of_100_mb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(100 * 2**20)
    start = time.monotonic()
    assert problems(path) == [(Code.FILE_UNREADABLE, "this file is larger than 1 MiB")]
    assert time.monotonic() - start < 1


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    assert problems(tmp_path) == [(Code.FILE_UNREADABLE, "this is not a regular file")]


def test_an_impossible_path_is_a_problem() -> None:
    assert problems(Path("a" * 300 + ".yaml")) == [
        (Code.FILE_UNREADABLE, "this file cannot be read: File name too long")
    ]


def test_nothing_outside_the_root_is_read(folder: Path) -> None:
    inner = folder / "deep"
    tree = DiskTree(inner)
    assert [file.path for file in load_slices(tree, ["."])] == ["a.yml", "deeper/c.yaml"]
    (inner / "link.yaml").symlink_to(folder / "b.yaml")
    outside = [(Code.FILE_UNREADABLE, f"this path leads outside {inner}")]
    assert problems(".", tree=tree) == [(Code.FILE_UNREADABLE, "this is a link to a file outside of its folder")]
    assert problems("../b.yaml", tree=tree) == outside
    assert problems(folder / "b.yaml", tree=tree) == outside


def test_a_loop_of_links_ends(folder: Path) -> None:
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "deep" / "self").symlink_to(folder / "deep" / "self")
    assert problems(folder / "deep" / "self") == [
        (Code.FILE_UNREADABLE, "this file cannot be read: Too many levels of symbolic links")
    ]
    assert len(load_slices(DISK, [folder])) == 3


def test_the_nearest_cluster_file_is_found(folder: Path) -> None:
    assert find_cluster(folder / "deep" / "deeper") == folder / "cluster.yaml"
    (folder / "deep" / "cluster.yaml").write_text("")
    assert find_cluster(folder / "deep" / "deeper") == folder / "deep" / "cluster.yaml"


def test_a_missing_cluster_file_is_none(tmp_path: Path) -> None:
    assert find_cluster(tmp_path) is None


def test_windows_line_ends_change_nothing() -> None:
    text = (EXAMPLES / "topologies" / "line.yaml").read_text()
    assert parse_slice(text.replace("\n", "\r\n"), "a").slice == parse_slice(text, "a").slice


def test_positions_are_found_by_path() -> None:
    source = parse_slice((EXAMPLES / "topologies" / "line.yaml").read_text(), "line.yaml").source
    assert source.locate(("vms", "right", "worker")) == Location("line.yaml", 13, 13)
    assert source.locate_key(("vms", "right", "worker")) == Location("line.yaml", 13, 5)
    assert source.locate(("links", 0, "endpoints", 1)) == Location("line.yaml", 16, 17)
    assert source.locate(("links", 2, "endpoints", 1)) == Location("line.yaml", 18, 23)
    assert source.locate(("vms", "right", "no such key")) == source.locate(("vms", "right"))
    assert source.excerpt(13) == "    worker: worker3"
    assert source.excerpt(0) == source.excerpt(1000) == ""


def test_problems_do_not_depend_on_the_order_of_files() -> None:
    cluster = parse_cluster((EXAMPLES / "cluster.yaml").read_text(), "cluster.yaml")
    text = "version: 1\nname: lab{0}\nowner: admin\ndefaults: {{flavor: nothing}}\nvms: {{a: {{vcpus: 9}}}}\n"
    files = [parse_slice(text.format(index % 9), f"{index:02}.yaml") for index in range(12)]
    expected = check(cluster, files)
    assert len(expected) > len(files)
    for seed in range(5):
        random.Random(seed).shuffle(files)  # noqa: S311 - a shuffle that repeats
        assert check(cluster, files) == expected
