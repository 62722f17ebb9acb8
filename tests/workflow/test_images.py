"""Loading files together with the local files of the images: wrong ones are refused before anything is uploaded."""

from __future__ import annotations

import hashlib
from pathlib import Path
from struct import pack

import pytest

from reconciler import workflow
from reconciler.apply.observation.doctor import examine_here
from reconciler.apply.observation.fitness import Verdict
from reconciler.errors import Code, Problem, SpecError
from reconciler.spec.models.cluster import Image
from tests.bench.topologies import cluster_text

GIB = 2**30
SLICE = """\
version: 1
name: images
owner: admin
defaults: {flavor: cirros}
vms:
  one: {}
  two: {disk: 4GiB}
"""


def header(size: int = GIB, *, backing: int = 0, features: int = 0) -> bytes:
    """Return the header of a QCOW2 image of version 3."""
    return pack(">4sIQIIQI36xQ24x", b"QFI\xfb", 3, backing, 9, 16, size, 0, features)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("cluster.yaml").write_text(cluster_text("campus"))
    Path("slice.yaml").write_text(SLICE)
    return tmp_path


def problems(image: bytes) -> tuple[Problem, ...]:
    Path("cirros.qcow2").write_bytes(image)
    with pytest.raises(SpecError) as caught:
        workflow.load(Path("cluster.yaml"), [Path("slice.yaml")])
    return caught.value.problems()


@pytest.mark.parametrize(
    ("image", "text", "hint"),
    [
        (b"\xeb\x63" * 500, "is a raw disk or something else, not a QCOW2 image", "convert it: qemu-img convert -O"),
        (b"", "is a raw disk or something else, not a QCOW2 image", "convert it: qemu-img convert -O"),
        (b"KDMV" * 500, "is a VMDK image, not a QCOW2 image", "convert it: qemu-img convert -O qcow2 cirros.qcow2 "),
        (header(backing=104), "has a backing file, which guests would read from the worker", "write a complete image"),
        (header(features=4), "keeps its data in another file, which guests would read", "write a complete image: "),
    ],
)
@pytest.mark.usefixtures("folder")
def test_an_image_that_is_no_complete_qcow2_is_refused_where_it_is_named(image: bytes, text: str, hint: str) -> None:
    (found,) = problems(image)
    assert found.code is Code.IMAGE
    assert found.summary.startswith(f"image cirros cannot be used: cirros.qcow2 {text}")
    assert str(found.location) == "cluster.yaml:7:25"
    assert (found.hint or "").startswith(hint)


@pytest.mark.usefixtures("folder")
def test_a_disk_that_is_smaller_than_its_image_is_refused() -> None:
    (found,) = problems(header(3 * GIB))
    assert found.summary == "the disk of one is smaller than its image: cirros has 3GiB, the disk 1GiB"
    assert (str(found.location), found.hint) == (
        "slice.yaml:6:8",
        "give it `disk: 3GiB` or more, here or in its flavor",
    )
    odd = problems(header(3 * GIB + 512))[0]
    assert odd.hint == "give it `disk: 3073MiB` or more, here or in its flavor"


@pytest.mark.usefixtures("folder")
def test_they_come_together_with_the_problems_of_other_files_and_other_vms() -> None:
    Path("other.yaml").write_text("version: 1\nname: [other]\nowner: admin\n")
    Path("slice.yaml").write_text(f"{SLICE}  three: {{flavor: none}}\n")
    Path("cirros.qcow2").write_bytes(b"raw")
    with pytest.raises(SpecError) as caught:
        workflow.load(Path("cluster.yaml"), [Path("slice.yaml"), Path("other.yaml")])
    assert {found.code for found in caught.value.problems()} >= {Code.IMAGE, Code.UNKNOWN_NAME, Code.WRONG_TYPE}


@pytest.mark.usefixtures("folder")
def test_images_that_are_not_here_or_not_used_are_not_checked() -> None:
    files = [Path("slice.yaml")]
    assert len(workflow.load(Path("cluster.yaml"), files).slices) == 1
    Path("cirros.qcow2").write_bytes(b"raw")
    Path("slice.yaml").write_text("version: 1\nname: images\nowner: admin\n")
    assert len(workflow.load(Path("cluster.yaml"), files).slices) == 1
    assert workflow.load(Path("cluster.yaml"), []).slices == ()


@pytest.mark.parametrize(("image", "verdict"), [(header(), Verdict.OK), (b"raw" * 400, Verdict.FAIL)])
def test_doctor_examines_the_header_of_each_image(tmp_path: Path, image: bytes, verdict: Verdict) -> None:
    path = tmp_path / "image"
    path.write_bytes(image)
    images = {"cirros": Image(file=str(path), sha256=hashlib.sha256(image).hexdigest())}
    (found,) = examine_here(images, {"cirros": path}, ()).findings
    assert found.verdict is verdict
    assert verdict is Verdict.OK or "qemu-img convert -O qcow2" in str(found.remedy)
