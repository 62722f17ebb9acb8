"""Reads the header of a QCOW2 image, as far as it decides whether the image can be a base of disks.

The layout is that of docs/interop/qcow2.rst in QEMU's sources. All numbers are big-endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

HEADER: Final = 104
"""So many bytes at the start of a file are enough; a version 2 header has 72."""

_MAGIC: Final = b"QFI\xfb"
_VERSIONS: Final = (2, 3)
_FIRST: Final = Struct(">4sIQIIQI")  # magic, version, backing offset and length, cluster bits, virtual size, encryption
_FEATURES: Final = Struct(">Q")
_FEATURES_AT: Final = 72
_CORRUPT: Final = 1 << 1
_EXTERNAL_DATA: Final = 1 << 2

_OTHERS: Final = (
    (0, b"KDMV", "a VMDK image"),
    (0, b"vhdxfile", "a VHDX image"),
    (0, b"conectix", "a VHD image"),
    (64, b"\x7f\x10\xda\xbe", "a VDI image"),
    (0, b"\x1f\x8b", "compressed with gzip"),
    (0, b"\xfd7zXZ\0", "compressed with xz"),
    (0, b"(\xb5/\xfd", "compressed with zstd"),
    (0, b"PK\x03\x04", "a ZIP archive"),
)
_PACKED: Final = ("compressed", "a ZIP")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a file cannot be a base of disks, to be read after its name, and a hint."""

    text: str
    hint: str


def read_header(start: bytes, path: str) -> int | Fault:
    """Return the size of the disk in an image, in bytes, or why the image cannot be used.

    `start` are the first HEADER bytes of the file, or all if it is shorter; `path` is its name, for hints. An image
    that names another file is refused: QEMU would open that file of the host, and show its content to the guest.
    """
    if len(start) < _FIRST.size or not start.startswith(_MAGIC):
        return _not_qcow2(start, path)
    version, backing, size, encrypted = (int(_FIRST.unpack_from(start)[at]) for at in (1, 2, 5, 6))
    features = 0
    if version >= _VERSIONS[-1] and len(start) >= _FEATURES_AT + _FEATURES.size:
        (features,) = _FEATURES.unpack_from(start, _FEATURES_AT)
    faults = (
        (version not in _VERSIONS, f"is QCOW2 of the unknown version {version}"),
        (backing, "has a backing file, which guests would read from the worker"),
        (features & _EXTERNAL_DATA, "keeps its data in another file, which guests would read from the worker"),
        (encrypted, "is encrypted"),
    )
    for present, text in faults:
        if present:
            return Fault(text, f"write a complete image: qemu-img convert -O qcow2 {path} complete.qcow2")
    if features & _CORRUPT:
        return Fault("is marked as corrupt", f"repair a copy of it: qemu-img check -r all {path}")
    return size


def _not_qcow2(start: bytes, path: str) -> Fault:
    found = next((text for at, magic, text in _OTHERS if start[at:].startswith(magic)), None)
    if found is not None and found.startswith(_PACKED):
        return Fault(f"is {found}, not a QCOW2 image", "unpack it first, and give the SHA-256 of what is inside")
    hint = f"convert it: qemu-img convert -O qcow2 {path} image.qcow2, and give the new file and its SHA-256"
    return Fault(f"is {found or 'a raw disk or something else'}, not a QCOW2 image", hint)
