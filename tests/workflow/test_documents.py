"""The cache of parsed documents: it saves time, holds no user-data, and never changes a result."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from reconciler import workflow
from reconciler.errors import SpecError
from reconciler.workflow.caches import FEW
from reconciler.workflow.documents import DocumentCache, document_cache
from reconciler.workflow.load import Inputs
from tests.bench.topologies import slice_text, write_cluster

MANY = FEW + 5
CANARY = "zq8Vd3kCanary7w"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_cluster(tmp_path / "campus", "campus", [f"slice{number:02}" for number in range(MANY)])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "documents.json"


def load(folder: Path, place: Path) -> Inputs:
    return workflow.load(folder / "cluster.yaml", [folder], documents=DocumentCache(place))


def same(one: Inputs, other: Inputs) -> bool:
    return one.slices == other.slices and one.digests == other.digests


def test_a_cached_run_gives_the_same_slices(folder: Path, place: Path) -> None:
    plain = workflow.load(folder / "cluster.yaml", [folder])
    assert same(load(folder, place), plain)
    assert place.stat().st_mode & 0o777 == 0o600
    assert same(load(folder, place), plain)


def test_documents_come_from_the_cache(folder: Path, place: Path) -> None:
    load(folder, place)
    cache = DocumentCache(place)
    digest = hashlib.sha256((folder / "slice01.yaml").read_bytes()).hexdigest()
    for _ in range(FEW):
        assert cache.get(digest) is None
    found = cache.get(digest)
    assert found is not None
    assert found["name"] == "slice01"
    assert cache.get("0" * 64) is None


def test_a_changed_file_is_parsed_again_and_the_old_document_is_dropped(folder: Path, place: Path) -> None:
    load(folder, place)
    (folder / "slice03.yaml").write_text(slice_text("slice03", 3))
    assert same(load(folder, place), workflow.load(folder / "cluster.yaml", [folder]))
    body = json.loads(place.read_text().partition("\n")[2])
    assert len(body) == MANY
    (three,) = (one for one in body.values() if one["name"] == "slice03")
    assert list(three["vms"]) == ["vm1", "vm2", "vm3"]


def test_an_unchanged_run_writes_nothing(folder: Path, place: Path) -> None:
    load(folder, place)
    os.utime(place, ns=(1, 1))
    load(folder, place)
    assert place.stat().st_mtime_ns == 1


def test_few_files_make_no_cache(tmp_path: Path, place: Path) -> None:
    folder = write_cluster(tmp_path / "small", "small", ["one", "two"])
    load(folder, place)
    assert not place.exists()


def test_problems_are_the_same_from_the_cache(folder: Path, place: Path) -> None:
    load(folder, place)
    text = (folder / "cluster.yaml").read_text()
    (folder / "cluster.yaml").write_text(text.replace("users: {admin: {}}", "users: {other: {}}"))
    with pytest.raises(SpecError) as plain:
        workflow.load(folder / "cluster.yaml", [folder])
    with pytest.raises(SpecError) as cached:
        load(folder, place)
    assert cached.value.found == plain.value.found
    assert len(cached.value.found) == MANY


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "noise", "list", "deep", "folder"])
def test_a_damaged_cache_is_ignored(folder: Path, place: Path, damage: str) -> None:
    plain = load(folder, place)
    content = place.read_text()
    place.unlink()
    if damage == "folder":
        place.mkdir()
    else:
        texts = {
            "empty": "",
            "cut": content[: len(content) // 2],
            "changed": content.replace("cirros", "ubuntu"),
            "noise": "\x00\xff",
            "list": f"{hashlib.sha256(b'[]').hexdigest()}\n[]",
            "deep": f"{'0' * 64}\n{'[' * 100_000}",
        }
        place.write_text(texts[damage], encoding="latin-1")
    assert same(load(folder, place), plain)


def test_user_data_is_never_cached(folder: Path, place: Path) -> None:
    head = "version: 1\nname: {}\nowner: admin\ndefaults: {{flavor: cirros}}\n"
    (folder / "secret.yaml").write_text(head.format("secret") + f"vms: {{a: {{cloud_init: {CANARY}}}}}\n")
    (folder / "named.yaml").write_text(head.format("named") + "vms: {a: {cloud_init: {file: data}}}\n")
    (folder / "data").write_text(CANARY)
    first = load(folder, place)
    assert CANARY not in place.read_text()
    assert "cloud_init" not in place.read_text()
    (folder / "data").write_text("other")
    assert not same(load(folder, place), first)


def test_a_place_that_cannot_be_written_is_no_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert len(load(folder, tmp_path / "file" / "documents.json").slices) == MANY


def test_each_cluster_has_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_CACHE_DIR", str(tmp_path))
    for name in ("one", "two"):
        folder = write_cluster(tmp_path / name, name, [f"slice{number:02}" for number in range(MANY)])
        cluster = folder / "cluster.yaml"
        workflow.load(cluster, [folder], documents=document_cache(cluster))
    assert len(list((tmp_path / "documents").iterdir())) == 2
