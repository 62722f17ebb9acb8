"""Connects the hosts of a lab: a fabric for their trunks and management links, and an internet behind the gateway.

Every link is created inside the lab's own network namespaces, so the machine never has an interface of the lab.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Final

from reconciler.errors import LabError
from reconciler.lab import process
from reconciler.lab.folder import GATEWAY, Folder, address_of

MANAGEMENT: Final = "ens3"
TRUNK: Final = "ens4"
UPLINK: Final = "ens5"
INTERNET_ADDRESS: Final = "203.0.113.10"
INTERNET_TEXT: Final = "You have reached the outside world of the lab."
DOWNLOAD_BYTES: Final = 5 * 1024 * 1024

FABRIC: Final = "fabric"
INTERNET: Final = "internet"
_BOOT: Final = Path(__file__).parent / "boot"
_START_WITHIN: Final = 10.0  # seconds
_POLL: Final = 0.01  # seconds
# The program that a part runs after its script has finished.
_SETTLED: Final = {FABRIC: "sleep", INTERNET: "busybox"}


def start(folder: Folder) -> None:
    """Start the fabric and the internet unless they are running."""
    _write_pages(folder.pages)
    for part, arguments in ((FABRIC, []), (INTERNET, [str(folder.pages)])):
        if find(folder, part) is None:
            process.end(folder, part)
            process.start(folder, part, ["unshare", "--net", "--", "sh", str(_BOOT / f"{part}.sh"), *arguments])
    deadline = time.monotonic() + _START_WITHIN
    while missing := [part for part in _SETTLED if find(folder, part) is None]:
        if time.monotonic() > deadline:
            log = folder.log(missing[0])
            raise LabError(f"the {missing[0]} of lab {folder.name} did not start", hint=f"its log is {log}")
        time.sleep(_POLL)


def find(folder: Folder, part: str) -> int | None:
    """Return the process that holds the fabric or the internet, or None."""
    found = (one.pid for one in process.find(folder) if one.part == part and one.program == _SETTLED[part])
    return next(found, None)


def connect(folder: Folder, host: str, pid: int) -> None:
    """Connect a host's missing links; `pid` is a process in its network namespace. The trunk comes up last."""
    wanted = [MANAGEMENT, TRUNK, *([UPLINK] if host == GATEWAY else [])]
    working = _in_network(folder, pid, "ip -o link show up")
    if all(f" {interface}@" in working for interface in wanted):
        return
    fabric, internet = find(folder, FABRIC), find(folder, INTERNET)
    if fabric is None or internet is None:
        raise LabError(f"lab {folder.name} has no running fabric", hint=f"run `reconciler lab up --name {folder.name}`")
    for end in (f"m-{host}", f"t-{host}"):
        _in_network(folder, fabric, f"ip link del {end} 2> /dev/null || true")
    _configure(folder, fabric, _bridged(f"m-{host}", "management", MANAGEMENT, pid))
    if host == GATEWAY:
        _in_network(folder, internet, "ip link del gateway 2> /dev/null || true")
        _configure(folder, internet, _uplink(pid))
    _configure(folder, pid, _inside(host))
    _configure(folder, fabric, _bridged(f"t-{host}", "trunk", TRUNK, pid))
    # A trunk carries frames of guests: the host itself sends nothing on it, not even IPv6 router solicitations.
    _configure(folder, pid, [f"link set {TRUNK} addrgenmode none", f"link set {TRUNK} up"])


def _bridged(outer: str, bridge: str, inner: str, pid: int) -> list[str]:
    return [
        f"link add {outer} type veth peer name {inner} netns {pid}",
        f"link set {outer} master {bridge} up",
    ]


def _uplink(pid: int) -> list[str]:
    return [
        f"link add gateway type veth peer name {UPLINK} netns {pid}",
        "link set gateway up",
        "address add 203.0.113.1/24 dev gateway",
        f"address add {INTERNET_ADDRESS}/24 dev gateway",
    ]


def _inside(host: str) -> list[str]:
    lines = [f"link set {MANAGEMENT} up", f"address add {address_of(host)}/24 dev {MANAGEMENT}"]
    if host == GATEWAY:
        lines += [f"link set {UPLINK} up", f"address add 203.0.113.2/24 dev {UPLINK}"]
        lines += ["route add default via 203.0.113.1"]
    return lines


def _configure(folder: Folder, pid: int, lines: list[str]) -> None:
    argv = ["nsenter", f"--target={pid}", "--net", "--", "ip", "-batch", "-"]
    done = process.run(folder, argv, "\n".join(lines) + "\n")
    if done.returncode != 0:
        raise LabError(f"the lab's links could not be created: {done.stderr.strip().splitlines()[0]}")


def _in_network(folder: Folder, pid: int, script: str) -> str:
    return process.run(folder, ["nsenter", f"--target={pid}", "--net", "--", "sh", "-c", script]).stdout


def _write_pages(pages: Path) -> None:
    """Write a page with a known text, and a file large enough to test full-size packets."""
    pages.mkdir(parents=True, exist_ok=True)
    (pages / "index.html").write_text(f"<html><body><p>{INTERNET_TEXT}</p></body></html>\n")
    download = pages / "download.bin"
    if not download.exists() or download.stat().st_size != DOWNLOAD_BYTES:
        download.write_bytes(hashlib.shake_256(b"reconciler lab").digest(DOWNLOAD_BYTES))
