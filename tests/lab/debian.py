"""Builds a Debian image with cloud-init from packages, which boots as any image for clouds does, and keeps it."""

from __future__ import annotations

import hashlib
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Final

from reconciler.lab.image import fetch_kernel, image_cache, kernel_package, locked, modules_in_order, pack, run_tool

PACKAGES: Final = ("systemd-sysv", "udev", "kmod", "cloud-init", "iproute2", "netbase")
_BOOT_MODULES: Final = ("virtio_pci", "virtio_blk", "ext4")
_MODULES: Final = ("virtio_net", "virtio_rng", "isofs", "button", "evdev")
_MIB: Final = 2**20
_SECTOR: Final = 512
_BOOT: Final = (1 * _MIB, 63 * _MIB)  # offset and size of the partition with the boot loader
_ROOT: Final = (64 * _MIB, 576 * _MIB)

_INIT: Final = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/lib/modules/$module"; done < /etc/modules
mount -t ext4 /dev/vda2 /root
exec switch_root /root /sbin/init
"""
_SYSLINUX: Final = """\
DEFAULT debian
PROMPT 0
TIMEOUT 0
LABEL debian
  LINUX vmlinuz
  INITRD initrd
  APPEND root=/dev/vda2 rw console=ttyS0,115200 quiet net.ifnames=0 mitigations=off tsc=reliable random.trust_cpu=on
"""
_FILES: Final = {
    # What has no package here takes half a minute under emulation, and then fails.
    "etc/cloud/cloud.cfg.d/90-lab.cfg": "datasource_list: [NoCloud, None]\nlocale: false\nssh_genkeytypes: []\n",
    "etc/fstab": "/dev/vda2 / ext4 defaults 0 1\n",
    "etc/hostname": "localhost\n",
}
_UNWANTED: Final = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")


def debian_image() -> Path:
    """Return the image, building it if the cache lacks it: about two minutes, and 70 MB of downloads.

    Raises LabError if a package cannot be fetched or a tool fails.
    """
    cache = image_cache()
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    target = cache / f"debian-{recipe}.qcow2"
    with locked(cache):
        if not target.exists():
            with tempfile.TemporaryDirectory(prefix="building-", dir=cache) as work:
                _build(Path(work)).replace(target)
    return target


def _build(work: Path) -> Path:
    kernel = fetch_kernel(work, kernel_package())
    tree, disk, finished = work / "root", work / "disk", work / "debian.qcow2"
    _install(tree)
    _add_modules(kernel, tree)
    boot, root = work / "boot.fat", work / "root.ext4"
    _make_boot(work, kernel, boot)
    run_tool(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(root), f"{_ROOT[1] // 1024}k"])
    with disk.open("wb") as output:
        output.write(_master_boot_record())
        for (offset, _), part in ((_BOOT, boot), (_ROOT, root)):
            output.seek(offset)
            with part.open("rb") as content:
                shutil.copyfileobj(content, output)
    run_tool(["qemu-img", "convert", "-O", "qcow2", str(disk), str(finished)])
    shutil.rmtree(tree)
    return finished


def _install(tree: Path) -> None:
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in _UNWANTED]
    options += ["--dpkgopt=force-unsafe-io", '--aptopt=APT::Install-Recommends "false"']
    # In a mount namespace of its own, so that a builder that is killed leaves no mounts.
    argv = [
        "unshare",
        "--mount",
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=apt",
        *options,
        f"--include={','.join(PACKAGES)}",
    ]
    run_tool([*argv, "bookworm", str(tree)], hint="apt-get update")
    for path, text in _FILES.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    run_tool(["systemctl", f"--root={tree}", "enable", "--quiet", "systemd-networkd"])


def _add_modules(kernel: Path, tree: Path) -> None:
    release = next((kernel / "lib/modules").iterdir())
    there = tree / "usr/lib/modules" / release.name
    for path in modules_in_order(kernel, [*_BOOT_MODULES, *_MODULES]):
        target = there / path.relative_to(release)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    for name in ("modules.builtin", "modules.order"):
        shutil.copy(release / name, there)
    run_tool(["depmod", "--basedir", str(tree), release.name])


def _make_boot(work: Path, kernel: Path, boot: Path) -> None:
    """Make the partition with the boot loader, the kernel, and an initial file system that mounts the other one."""
    initial = work / "initial"
    (initial / "bin").mkdir(parents=True)
    for name in ("dev", "root", "etc", "lib/modules"):
        (initial / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", initial / "bin/busybox")
    (initial / "init").write_text(_INIT)
    (initial / "init").chmod(0o755)
    modules = modules_in_order(kernel, _BOOT_MODULES)
    for path in modules:
        shutil.copy(path, initial / "lib/modules")
    (initial / "etc/modules").write_text("".join(f"{path.name}\n" for path in modules))
    pack(initial, work / "initrd")
    (work / "syslinux.cfg").write_text(_SYSLINUX)
    with boot.open("wb") as empty:
        empty.truncate(_BOOT[1])
    run_tool(["mkfs.fat", "-h", str(_BOOT[0] // _SECTOR), str(boot)])
    vmlinuz = next((kernel / "boot").glob("vmlinuz-*"))
    for source, name in ((vmlinuz, "vmlinuz"), (work / "initrd", "initrd"), (work / "syslinux.cfg", "syslinux.cfg")):
        run_tool(["mcopy", "-i", str(boot), str(source), f"::{name}"])
    run_tool(["syslinux", "--install", str(boot)])


def _master_boot_record() -> bytes:
    """Return the first sector: syslinux's boot code, the first partition active (FAT32), the second one Linux's."""
    code = Path("/usr/lib/SYSLINUX/mbr.bin").read_bytes()
    entries = b"".join(_entry(*part) for part in ((0x80, 0x0C, *_BOOT), (0, 0x83, *_ROOT)))
    return code.ljust(446, b"\0") + entries.ljust(64, b"\0") + b"\x55\xaa"


def _entry(active: int, kind: int, offset: int, size: int) -> bytes:
    """Return a partition's entry; addresses by cylinder are those that mean: use the sectors' numbers."""
    return struct.pack("<B3sB3sII", active, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", offset // _SECTOR, size // _SECTOR)
