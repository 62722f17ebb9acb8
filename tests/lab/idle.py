"""Makes a guest image without a system: the boot sector halts the CPU, so a VM costs a tenth of one that boots.

Everything around the guest is real: the image is a QCOW2 file as large as the lab's, uploaded and checked as any other,
and QEMU runs on an overlay of it.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from random import Random
from typing import Any, Final

from ruamel.yaml import YAML

_HALT: Final = bytes.fromhex("fa f4 eb fd")  # cli; hlt; jump back to cli
_SIGNATURE: Final = bytes.fromhex("55 aa")
_SECTOR: Final = 512  # bytes
_DISK: Final = 16 * 1024 * 1024  # bytes


def idle_image(folder: Path) -> Path:
    """Write the image into a folder, and return its path."""
    sector = _HALT.ljust(_SECTOR - len(_SIGNATURE), b"\0") + _SIGNATURE
    raw, image = folder / "idle.raw", folder / "idle.qcow2"
    filling = Random(0).randbytes(_DISK - _SECTOR)  # noqa: S311 - zeros would not be stored
    raw.write_bytes(sector + filling)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image], check=True)
    raw.unlink()
    return image


def with_image(cluster_file: Path, image: Path, target: Path, *only: str) -> Path:
    """Write a cluster file that is like another, but whose images, or only some, are this one; return its path."""
    yaml = YAML(typ="safe")
    cluster: dict[str, Any] = yaml.load(cluster_file)
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    cluster["images"] |= {name: {"file": str(image), "sha256": digest} for name in only or cluster["images"]}
    with target.open("w") as stream:
        yaml.dump(cluster, stream)
    return target
