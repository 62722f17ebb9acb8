"""Build the lab's guest image once and keep it: Debian's cloud kernel, busybox and a boot loader in a QCOW2 file.

The image is bootable by the same QEMU command line as any production image. It takes DHCP on every interface, heeds
user-data that is a script, answers ping, powers off on request and gives a shell on its serial port. Nothing is mounted
and nothing is installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import platformdirs

from reconciler.errors import LabError

_RECIPE: Final = Path(__file__).parent / "recipe"
# The guest's modules and their parameters, in the order of loading; what they depend on is loaded before them.
# Checksums and segmentation stay in the guest: a userspace switch passes frames on exactly as it got them.
_MODULES: Final = {
    "virtio_pci": "",
    "virtio_net": "csum=0 gso=0",
    "virtio_blk": "",
    "virtio_rng": "",
    "evdev": "",
    "button": "",
    "isofs": "",
}
_PLACES: Final = {
    "init": "init",
    "inittab": "etc/inittab",
    "network": "bin/network",
    "seed": "bin/seed",
    "lease": "bin/lease",
    "profile": "etc/profile",
    "power-button": "etc/acpi/PWRF/00000080",
}
_FILE_SYSTEM_BYTES: Final = 32 * 1024 * 1024


def guest_image(report: Callable[[str], None]) -> Path:
    """Return the guest image of this version, building it if the cache lacks it (about 10 s, and a 27 MB download).

    Raises `LabError` if the kernel cannot be fetched or a tool fails.
    """
    cache = image_cache()
    with locked(cache):
        cached = sorted(cache.glob(f"guest-{_recipe_digest()}-*.qcow2"))
        if cached:
            return cached[-1]
        kernel = kernel_package()
        target = cache / f"guest-{_recipe_digest()}-{kernel.removeprefix('linux-image-')}.qcow2"
        report(f"building the guest image from {kernel}; it is kept for the next time")
        with tempfile.TemporaryDirectory(prefix="building-", dir=cache) as work:
            _build(Path(work), kernel).replace(target)
        return target


def image_cache() -> Path:
    """Return the folder where images are kept, which exists then; raises LabError if it cannot be made."""
    chosen = os.environ.get("RECONCILER_CACHE_DIR")
    cache = (Path(chosen) if chosen else platformdirs.user_cache_path("reconciler")).resolve()
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"the image cache {cache} cannot be made: {error.strerror}") from error
    return cache


def _recipe_digest() -> str:
    """Digest all that shapes the image, but for the kernel's version, which the file's name says."""
    digest = hashlib.sha256()
    for path in (Path(__file__), *sorted(_RECIPE.iterdir())):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def locked(cache: Path) -> Iterator[None]:
    """Let one process build; what a killed builder left half-done is cleared by the next."""
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for abandoned in cache.glob("building-*"):
            shutil.rmtree(abandoned, ignore_errors=True)  # a killed builder's child may still write here
        yield


def kernel_package() -> str:
    """Return the package that Debian's linux-image-cloud-amd64 stands for: linux-image-6.1.0-NN-cloud-amd64."""
    listed = run_tool(["apt-cache", "depends", "linux-image-cloud-amd64"])
    found = re.search(r"Depends: (linux-image-\S+-cloud-amd64)", listed)
    if found is None:
        raise LabError("apt knows no linux-image-cloud-amd64, the guest's kernel", hint="apt-get update")
    return found[1]


def _build(work: Path, kernel: str) -> Path:
    unpacked = fetch_kernel(work, kernel)
    initrd = _initial_file_system(work, unpacked)
    boot, finished = work / "boot.fat", work / "guest.qcow2"
    with boot.open("wb") as empty:
        empty.truncate(_FILE_SYSTEM_BYTES)
    run_tool(["mkfs.fat", str(boot)])
    vmlinuz = next((unpacked / "boot").glob("vmlinuz-*"))
    for source, name in ((vmlinuz, "vmlinuz"), (initrd, "initrd"), (_RECIPE / "syslinux.cfg", "syslinux.cfg")):
        run_tool(["mcopy", "-i", str(boot), str(source), f"::{name}"])
    run_tool(["syslinux", "--install", str(boot)])
    # Not compressed: to inflate 13 MB to 17 MB would cost each boot half a second under emulation.
    run_tool(["qemu-img", "convert", "-O", "qcow2", str(boot), str(finished)])
    return finished


def fetch_kernel(work: Path, kernel: str) -> Path:
    """Download and unpack the kernel's package; the machine's own packages stay as they are."""
    run_tool(["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", kernel], folder=work, hint="apt-get update")
    unpacked = work / "kernel"
    run_tool(["dpkg-deb", "--extract", str(next(work.glob("*.deb"))), str(unpacked)])
    return unpacked


def _initial_file_system(work: Path, unpacked: Path) -> Path:
    tree, packed = work / "guest", work / "initrd"
    for source, place in _PLACES.items():
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_RECIPE / source, tree / place)
        (tree / place).chmod(0o755)
    (tree / "root").mkdir()
    busybox = shutil.which("busybox")
    if busybox is None:
        raise LabError("a lab needs Debian's package busybox-static", hint="apt-get install busybox-static")
    shutil.copy(busybox, tree / "bin/busybox")
    _copy_modules(unpacked, tree)
    pack(tree, packed)
    return packed


def pack(tree: Path, packed: Path) -> None:
    """Pack a folder as an initial file system (cpio); raises LabError if that fails."""
    names = "\n".join(sorted(str(path.relative_to(tree)) for path in tree.rglob("*")))
    with packed.open("wb") as output:
        done = subprocess.run(
            ["cpio", "--quiet", "--create", "--format=newc", "--owner=0:0"],
            cwd=tree,
            input=names.encode(),
            stdout=output,
            check=False,
        )
    if done.returncode != 0:
        raise LabError("cpio could not pack the guest's initial file system")


def _copy_modules(unpacked: Path, tree: Path) -> None:
    """Put the modules flat into /lib/modules, and their order with parameters into /etc/modules."""
    (tree / "lib/modules").mkdir(parents=True)
    lines: list[str] = []
    for path in modules_in_order(unpacked, list(_MODULES)):
        shutil.copy(path, tree / "lib/modules")
        lines.append(f"{path.name} {_MODULES.get(_module_name(path.name), '')}".strip() + "\n")
    (tree / "etc/modules").write_text("".join(lines))


def modules_in_order(unpacked: Path, wanted: Sequence[str]) -> list[Path]:
    """Return the files of modules in an unpacked kernel package, each after those that it depends on.

    What this kernel has built in is left out.
    """
    release = next((unpacked / "lib/modules").iterdir())
    run_tool(["depmod", "--basedir", str(unpacked), release.name])
    needs: dict[str, list[str]] = {}
    for line in (release / "modules.dep").read_text().splitlines():
        path, _, before = line.partition(":")
        # depmod lists the nearest dependency first.
        needs[_module_name(path)] = [*reversed(before.split()), path]
    found = [path for name in wanted for path in needs.get(name, [])]
    return [release / path for path in dict.fromkeys(found)]


def _module_name(path: str) -> str:
    return Path(path).name.partition(".ko")[0].replace("-", "_")


def run_tool(argv: Sequence[str], *, folder: Path | None = None, hint: str | None = None) -> str:
    """Run a program and return what it prints; raises LabError if it fails or is missing."""
    if shutil.which(argv[0]) is None:
        raise LabError(
            f"the guest image could not be built: there is no {argv[0]}", hint="build it on Debian or Ubuntu"
        )
    done = subprocess.run(argv, cwd=folder, text=True, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise LabError(f"the guest image could not be built: {argv[0]}: {said}", hint=hint)
    return done.stdout
