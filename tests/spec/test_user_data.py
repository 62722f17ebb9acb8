"""User-data in slice files: text, or a file in the slice's folder or below; a secret as soon as it is read."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from reconciler.errors import SpecError
from reconciler.spec.load import SliceFile, load_slices
from reconciler.spec.models.names import VmName
from reconciler.spec.models.secret import MASK, Secret
from reconciler.spec.tree import MAX_BYTES
from reconciler.trees import DISK

CANARY = "zq8Vd3kCanary7w"
HEAD = "version: 1\nname: lab\nowner: alice\n"


def load(folder: Path, text: str) -> SliceFile:
    (folder / "lab.yaml").write_text(HEAD + text)
    return load_slices(DISK, [folder])[0]


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(SpecError) as caught:
        load(folder, text)
    (problem,) = caught.value.found
    assert problem.location is not None
    return f"{problem.location.line}: {problem.summary}"


def test_a_vm_overrides_its_group_and_files_are_read_below_the_slice(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "group.yaml").write_text("#cloud-config\n")
    text = (
        "defaults: {cloud_init: all}\ngroups: {g: {cloud_init: {file: files/group.yaml}}}\n"
        "vms: {a: {}, b: {group: g}, c: {group: g, cloud_init: own}}\n"
    )
    file = load(tmp_path, text)
    given = [file.slice.vms[VmName(name)].cloud_init for name in "abc"]
    assert [one.reveal() for one in given if one] == [b"all", b"#cloud-config\n", b"own"]
    assert [Path(path).name for path in file.attached] == ["group.yaml"]


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    file = load(tmp_path, f"vms: {{a: {{cloud_init: {CANARY}}}}}\n")
    secret = file.slice.vms[VmName("a")].cloud_init
    assert secret is not None
    for shown in (repr(file), str(file.slice), file.slice.written.model_dump_json(), f"{secret}", f"{secret!r}"):
        assert CANARY not in shown
    assert str(secret) == MASK
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(secret)


def test_digests_are_slow_salted_and_the_same_each_time(tmp_path: Path) -> None:
    one = Secret(b"hunter2").digest("alice/lab")
    assert one == Secret(b"hunter2").digest("alice/lab")
    assert len({one, Secret(b"hunter2").digest("bob/lab"), Secret(b"hunter3").digest("alice/lab")}) == 3
    plain, private = "vms: {a: {}}\n", f"vms: {{a: {{cloud_init: {CANARY}}}}}\n"
    assert load(tmp_path, plain).digest != load(tmp_path, private).digest == load(tmp_path, private).digest


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "link", "folder-link/outside", "a\\0b"])
def test_a_file_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    slices = tmp_path / "slices"
    slices.mkdir()
    (tmp_path / "outside").write_text(CANARY)
    (slices / "link").symlink_to(tmp_path / "outside")
    (slices / "folder-link").symlink_to(tmp_path)
    message = refusal(slices, f'vms:\n  a:\n    cloud_init: {{file: "{name}"}}\n')
    assert message.startswith("6: ")
    assert CANARY not in message
    if "\\" not in name:
        assert "outside the folder of this slice file" in message


@pytest.mark.parametrize("name", [".git/config", "./.git/config", "link", ".env"])
def test_a_hidden_file_is_given_to_no_guest(tmp_path: Path, name: str) -> None:
    (tmp_path / ".git").mkdir()
    for hidden in (".git/config", ".env"):
        (tmp_path / hidden).write_text(CANARY)
    (tmp_path / "link").symlink_to(".git/config")
    message = refusal(tmp_path, f'vms:\n  a:\n    cloud_init: {{file: "{name}"}}\n')
    assert ("it is hidden" in message, CANARY in message) == (True, False), message


@pytest.mark.parametrize(
    ("content", "message"),
    [(b" \n", "is empty"), (b"x" * (MAX_BYTES + 1), "larger than"), (None, "no such file")],
)
def test_an_unusable_file_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "data").write_bytes(content)
    assert message in refusal(tmp_path, "vms: {a: {cloud_init: {file: data}}}\n")
