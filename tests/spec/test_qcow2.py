"""Headers of images: what QEMU writes is read, and whatever cannot be a base of disks is refused with a way out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.spec.qcow2 import HEADER, Fault, read_header

GIB = 2**30


needs_qemu = pytest.mark.lab
"""These tests run qemu-img, which the lab needs too."""


def made(folder: Path, *options: str, size: str = "1G", name: str = "made.img") -> bytes:
    path = folder / name
    subprocess.run(["qemu-img", "create", "-q", *options, str(path), size], check=True, cwd=folder)
    with path.open("rb") as file:
        return file.read(HEADER)


def fault(start: bytes) -> Fault:
    found = read_header(start, "images/debian.img")
    assert isinstance(found, Fault)
    return found


@pytest.mark.parametrize(
    "options", [("compat=0.10",), ("compat=1.1",), ("compression_type=zstd",), ("cluster_size=4k",)]
)
def test_the_size_of_a_complete_image_is_read(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert read_header(made(tmp_path, "-f", "qcow2", "-o", *options, size="3G"), "x") == 3 * GIB


@needs_qemu
def test_an_image_with_a_backing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the worker" * 100)
    found = fault(made(tmp_path, "-f", "qcow2", "-F", "raw", "-b", "secret"))
    assert found.text == "has a backing file, which guests would read from the worker"
    assert found.hint == "write a complete image: qemu-img convert -O qcow2 images/debian.img complete.qcow2"


@needs_qemu
def test_an_image_with_an_external_data_file_is_refused(tmp_path: Path) -> None:
    found = fault(made(tmp_path, "-f", "qcow2", "-o", "data_file=data.raw"))
    assert found.text.startswith("keeps its data in another file")


@needs_qemu
@pytest.mark.parametrize(
    ("format_", "what"),
    [
        ("raw", "is a raw disk or something else, not a QCOW2 image"),
        ("vmdk", "is a VMDK image, not a QCOW2 image"),
        ("vhdx", "is a VHDX image, not a QCOW2 image"),
        ("vdi", "is a VDI image, not a QCOW2 image"),
        ("vpc", "is a VHD image, not a QCOW2 image"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, format_: str, what: str) -> None:
    found = fault(made(tmp_path, "-f", format_))
    assert found.text == what
    assert found.hint.startswith("convert it: qemu-img convert -O qcow2 images/debian.img image.qcow2, ")


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"\x1f\x8b" + bytes(HEADER), "compressed with gzip"),
        (b"\xfd7zXZ\0" + bytes(HEADER), "compressed with xz"),
        (b"PK\x03\x04" + bytes(HEADER), "a ZIP archive"),
    ],
)
def test_a_packed_image_is_to_be_unpacked(start: bytes, what: str) -> None:
    assert fault(start).text == f"is {what}, not a QCOW2 image"
    assert fault(start).hint.startswith("unpack it first")


@needs_qemu
def test_encrypted_corrupt_and_unknown_images_are_refused(tmp_path: Path) -> None:
    good = made(tmp_path, "-f", "qcow2")
    assert fault(good[:32] + b"\0\0\0\x02" + good[36:]).text == "is encrypted"
    assert fault(good[:79] + b"\x02" + good[80:]).text == "is marked as corrupt"
    assert fault(good[:4] + b"\0\0\0\x04" + good[8:]).text == "is QCOW2 of the unknown version 4"


@given(st.binary(max_size=HEADER), st.booleans())
def test_no_bytes_make_it_fail(start: bytes, magic: bool) -> None:
    found = read_header((b"QFI\xfb" if magic else b"") + start, "x")
    assert isinstance(found, Fault) or found >= 0
