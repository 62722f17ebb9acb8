"""One contract for disk, memory and Git: the same files give the same slices, problems and refusals."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from reconciler import workflow
from reconciler.errors import Code, SpecError, UsageError
from reconciler.plan.build import build_plan
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.check.files import check
from reconciler.spec.load import load_cluster, load_slices, read_slices
from reconciler.spec.models.names import VmName
from reconciler.spec.tree import MAX_BYTES, Entry, FileTree, Kind, MemoryTree, Unreadable, join_path
from reconciler.trees import DISK, DiskTree, find_revision, git_tree, merges

EXAMPLES = Path(__file__).parents[1] / "examples"
SLICE = b"version: 1\nname: %s\nowner: admin\nvms: {a: {flavor: cirros, cloud_init: {file: data/a.yaml}}}\n"
FILES: dict[str, bytes] = {
    "cluster.yaml": (EXAMPLES / "cluster.yaml").read_bytes(),
    "slices/one.yaml": SLICE % b"one",
    "slices/deep/two.yml": SLICE % b"two",
    "slices/data/a.yaml": b"#cloud-config\n",
    "slices/deep/data/a.yaml": b"#cloud-config\nruncmd: []\n",
    "slices/.hidden.yaml": b"[",
    "slices/README.md": b"[",
    "other/three.yaml": b"version: 1\nname: three\nowner: admin\n",
    "large.yaml": b"#" * (MAX_BYTES + 1),
}
LINKS: dict[str, str] = {
    "slices/link.yaml": "../other/three.yaml",
    "slices/folder": "../other",
    "slices/loop.yml": "loop.yml",
    "broken.yaml": "nothing.yaml",
    "slices/deep/data/outside.txt": "../../../other/three.yaml",
    "leaves.yaml": "../../elsewhere.yaml",
}

Make = Callable[[Mapping[str, bytes], Mapping[str, str]], FileTree]


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def write(folder: Path, files: Mapping[str, bytes], links: Mapping[str, str]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    for path, target in links.items():
        (folder / path).symlink_to(target)


def commit(folder: Path, files: Mapping[str, bytes], links: Mapping[str, str]) -> None:
    """Commit files, then empty the folder: only Git's objects have them."""
    folder.mkdir()
    write(folder, files, links)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message", "Add files")
    git(folder, "rm", "-r", "--quiet", "--force", ".")


@pytest.fixture(params=["disk", "memory", "git"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Return how a tree of some files and symbolic links is made, in one of three ways."""

    def disk(files: Mapping[str, bytes], links: Mapping[str, str]) -> FileTree:
        write(tmp_path, files, links)
        return DiskTree(tmp_path)

    def revision(files: Mapping[str, bytes], links: Mapping[str, str]) -> FileTree:
        commit(tmp_path / "repository", files, links)
        return stack.enter_context(git_tree(tmp_path / "repository", "HEAD"))

    with ExitStack() as stack:
        yield {"disk": disk, "memory": MemoryTree, "git": revision}[request.param]


@pytest.fixture
def tree(make: Make) -> FileTree:
    return make(FILES, LINKS)


def refusal(tree: FileTree, path: str) -> str:
    with pytest.raises(Unreadable) as raised:
        tree.read(path)
    return raised.value.summary


def test_the_same_files_are_found_and_read(tree: FileTree) -> None:
    files, problems = read_slices(tree, ["slices"])
    assert [(file.path, file.slice.name) for file in files] == [
        ("slices/deep/two.yml", "two"),
        ("slices/one.yaml", "one"),
    ]
    assert [(problem.code, problem.summary) for problem in problems] == [
        (Code.FILE_UNREADABLE, "this is a link to a file outside of its folder"),
        (Code.FILE_UNREADABLE, "this file cannot be read: Too many levels of symbolic links"),
    ]
    (named,), none = read_slices(tree, ["slices/link.yaml"])
    assert (named.slice.name, none) == ("three", ()), "a link that is named is followed"


def test_files_that_a_slice_names_come_from_the_same_tree(tree: FileTree) -> None:
    (two,) = load_slices(tree, ["slices/deep/two.yml"])
    secret = two.slice.vms[VmName("a")].cloud_init
    assert secret is not None
    assert secret.reveal() == FILES["slices/deep/data/a.yaml"]
    assert list(two.attached) == ["slices/deep/data/a.yaml"]


@pytest.mark.parametrize("name", ["data/outside.txt", "../one.yaml", "/etc/passwd", "../../../../etc/passwd"])
def test_a_slice_names_no_file_outside_its_folder(make: Make, name: str) -> None:
    text = b"version: 1\nname: a\nowner: admin\nvms: {a: {cloud_init: {file: '%s'}}}\n" % name.encode()
    tree = make(FILES | {"slices/deep/bad.yaml": text}, LINKS)
    with pytest.raises(SpecError) as raised:
        load_slices(tree, ["slices/deep/bad.yaml"])
    (problem,) = raised.value.found
    assert "outside" in problem.summary


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (".", Kind.FOLDER),
        ("slices", Kind.FOLDER),
        ("slices/folder", Kind.FOLDER),
        ("slices/folder/three.yaml", Kind.FILE),
        ("slices/./deep/../one.yaml", Kind.FILE),
        ("broken.yaml", None),
        ("slices/loop.yml", None),
        ("../x", None),
        ("nothing", None),
        ("a\0b", None),
    ],
)
def test_kinds(tree: FileTree, path: str, kind: Kind | None) -> None:
    assert tree.kind(path) is kind


def test_entries_leave_out_links_to_folders(tree: FileTree) -> None:
    assert sorted(tree.entries("slices")) == [
        Entry(".hidden.yaml", is_folder=False),
        Entry("README.md", is_folder=False),
        Entry("data", is_folder=True),
        Entry("deep", is_folder=True),
        Entry("link.yaml", is_folder=False),
        Entry("loop.yml", is_folder=False),
        Entry("one.yaml", is_folder=False),
    ]
    with pytest.raises(Unreadable):
        tree.entries("nothing")


def test_paths_of_one_file_resolve_to_the_same(tree: FileTree) -> None:
    assert (
        tree.resolve("slices/link.yaml") == tree.resolve("slices/folder/three.yaml") == tree.resolve("other/three.yaml")
    )


def test_what_cannot_be_read_is_refused_with_a_reason(tree: FileTree) -> None:
    assert refusal(tree, "nothing.yaml") == refusal(tree, "broken.yaml") == "no such file or folder"
    assert refusal(tree, "slices") == "this is a folder, not a file"
    assert refusal(tree, "large.yaml") == "this file is larger than 1 MiB"
    assert "Too many levels of symbolic links" in refusal(tree, "slices/loop.yml")
    assert refusal(tree, "a\0b") == "not a path"
    for path in ("leaves.yaml", "../x.yaml", "/etc/passwd"):
        assert refusal(tree, path).startswith("this path leads outside")


def test_a_revision_is_planned_without_a_checkout(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    commit(folder, FILES, {})
    with git_tree(folder, "main") as tree:
        inputs = workflow.load(Path("cluster.yaml"), [Path("slices")], tree)
    plan = build_plan(inputs.cluster.cluster, [file.slice for file in inputs.slices], StateSnapshot(""))
    assert plan.slices == ("admin/one", "admin/two")
    assert plan.steps
    assert {path.name for path in folder.iterdir()} == {".git"}


def test_a_memory_tree_is_planned() -> None:
    tree = MemoryTree(FILES)
    cluster = load_cluster(tree, "cluster.yaml")
    assert check(cluster, load_slices(tree, ["slices"])) == ()


def test_problems_of_a_revision_name_it(tmp_path: Path) -> None:
    commit(tmp_path / "repository", FILES | {"slices/bad.yaml": b"version: 2\nname: a\nowner: admin\n"}, {})
    with git_tree(tmp_path / "repository", "HEAD~0") as tree, pytest.raises(SpecError) as raised:
        load_slices(tree, ["slices/bad.yaml"])
    assert str(raised.value.found[0].location) == "HEAD~0:slices/bad.yaml:1:10"


def test_git_runs_neither_filters_nor_hooks_nor_replacements(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    commit(folder, {"a.yaml": b"old\n", ".gitattributes": b"*.yaml filter=bad ident\n"}, {})
    git(folder, "config", "filter.bad.smudge", "touch ran; cat")
    git(folder, "config", "core.fsmonitor", "touch ran")
    original = git(folder, "rev-parse", "HEAD:a.yaml")
    other = subprocess.run(
        ["git", "hash-object", "-w", "--stdin"], cwd=folder, input=b"new\n", check=True, capture_output=True
    )
    git(folder, "replace", original, other.stdout.decode().strip())
    with git_tree(folder, "HEAD") as tree:
        assert tree.read("a.yaml") == git_object(folder, original)
    assert not (folder / "ran").exists()


def git_object(folder: Path, name: str) -> bytes:
    argv = ["git", "--no-replace-objects", "cat-file", "blob", name]
    return subprocess.run(argv, cwd=folder, check=True, capture_output=True).stdout


def test_a_submodule_is_not_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    commit(folder, {"a.yaml": b"a: 1\n"}, {})
    head = git(folder, "rev-parse", "HEAD")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{head},inner.yaml")
    git(folder, "commit", "--quiet", "--message", "Add a submodule")
    with git_tree(folder, "HEAD") as tree:
        assert tree.kind("inner.yaml") is Kind.OTHER
        assert refusal(tree, "inner.yaml") == "this is not a regular file"


@pytest.mark.parametrize("revision", ["nothing", "--help", "HEAD:a.yaml", ""])
def test_a_revision_that_is_not_there_is_an_error(tmp_path: Path, revision: str) -> None:
    commit(tmp_path / "repository", {"a.yaml": b"a: 1\n"}, {})
    with pytest.raises(UsageError, match="has no revision"), git_tree(tmp_path / "repository", revision):
        pass


def test_a_missing_object_is_a_problem_of_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    commit(folder, FILES, {})
    name = git(folder, "rev-parse", "HEAD:slices/one.yaml")
    (folder / ".git" / "objects" / name[:2] / name[2:]).unlink()
    with git_tree(folder, "HEAD") as tree:
        files, problems = read_slices(tree, ["slices"])
    assert [file.slice.name for file in files] == ["two"]
    assert [problem.summary for problem in problems] == ["this file cannot be read: Git does not have its content"]


def test_git_s_variables_do_not_lead_to_another_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        commit(tmp_path / name, {f"{name}.yaml": b"a: 1\n"}, {})
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "one" / ".git"))
    with git_tree(tmp_path / "two", "HEAD") as tree:
        assert [entry.name for entry in tree.entries(".")] == ["two.yaml"]


def test_the_disk_tree_without_a_root_takes_paths_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, FILES, {})
    monkeypatch.chdir(tmp_path)
    assert [file.path for file in load_slices(DISK, [Path("slices")])] == ["slices/deep/two.yml", "slices/one.yaml"]
    assert [file.path for file in load_slices(DISK, [Path("other")])] == ["other/three.yaml"]
    (absolute,) = load_slices(DISK, [tmp_path / "other"])
    assert absolute.path == os.fspath(tmp_path / "other/three.yaml")


@pytest.mark.parametrize(
    ("folder", "name", "joined"),
    [
        (".", "a", "a"),
        ("a", "./b//c", "a/b/c"),
        ("a", "../b", "a/../b"),
        ("/a", "b", "/a/b"),
        ("/", "b", "/b"),
        ("a", "/b", "/b"),
        (".", ".", "."),
    ],
)
def test_joined_paths(folder: str, name: str, joined: str) -> None:
    assert join_path(folder, name) == joined


@pytest.mark.parametrize("without", ["blob:none", "tree:0"])
def test_a_partial_clone_is_refused_and_fetches_nothing(tmp_path: Path, without: str) -> None:
    origin, folder = tmp_path / "origin", tmp_path / "clone"
    commit(origin, FILES, {})
    git(origin, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "--quiet", "--no-checkout", f"--filter={without}", origin.as_uri(), str(folder))
    git(folder, "config", "remote.origin.uploadpack", f"touch {tmp_path}/ran; git-upload-pack")
    with pytest.raises(UsageError, match="does not have all files of HEAD"), git_tree(folder, "HEAD"):
        pass
    assert not (tmp_path / "ran").exists()


def test_objects_of_another_repository_are_read_as_its_own(tmp_path: Path) -> None:
    commit(tmp_path / "origin", FILES, {})
    git(tmp_path, "clone", "--quiet", "--shared", "--bare", "origin", "clone")
    with git_tree(tmp_path / "clone", "HEAD") as tree:
        assert {file.slice.name for file in load_slices(tree, ["slices"])} == {"one", "two"}


def test_a_large_blob_and_a_long_link_are_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    commit(folder, {"large.yaml": b"#" * (40 * MAX_BYTES), "a.yaml": b"a: 1\n"}, {})
    git(folder, "checkout", "--quiet", "HEAD", "--", ".")
    long = git(folder, "rev-parse", "HEAD:large.yaml")
    git(folder, "update-index", "--add", "--cacheinfo", f"120000,{long},link.yaml")
    git(folder, "commit", "--quiet", "--message", "Add a link")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with git_tree(folder, "HEAD") as tree:
        assert refusal(tree, "large.yaml") == "this file is larger than 1 MiB"
        assert refusal(tree, "link.yaml") == "this is not a regular file"
        assert tree.read("a.yaml") == b"a: 1\n"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024


def test_a_merge_runs_no_driver_and_no_hook_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    commit(folder, {"a.yaml": b"a: 1\n", "b.yaml": b"b: 1\n", ".gitattributes": b"*.yaml merge=bad\n"}, {})
    git(folder, "config", "core.hooksPath", str(tmp_path))
    for name, path in (("one", "a.yaml"), ("two", "b.yaml")):
        git(folder, "checkout", "--quiet", "--force", "-B", name, "main")
        (folder / path).write_bytes(b"c: 2\n")
        git(folder, "commit", "--quiet", "--all", "--message", name)
    before = sorted(str(path) for path in (folder / ".git").rglob("*"))
    with merges(folder) as both:
        merged = both.merge(find_revision(folder, "one"), find_revision(folder, "two"))
        with both.tree(merged) as tree:
            assert (tree.read("a.yaml"), tree.read("b.yaml")) == (b"c: 2\n", b"c: 2\n")
    assert sorted(str(path) for path in (folder / ".git").rglob("*")) == before
