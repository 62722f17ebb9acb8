"""Refuses to keep a state on a network file system."""

from __future__ import annotations

import re
from pathlib import Path

from reconciler.errors import StateError

MOUNTS = Path("/proc/self/mountinfo")
"""The mounts that this process sees; see proc_pid_mountinfo(5)."""

_NETWORK = frozenset(
    ("9p", "afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs")
)
_LOCAL_FUSE = frozenset(("fuseblk", "fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.ntfs-3g"))


def refuse_network(file: Path) -> None:
    """Raise StateError where a file is, or would be, on a network file system.

    SQLite shares its write-ahead log through memory, which two machines do not have in common:
    https://www.sqlite.org/wal.html. Where the system does not list its mounts, nothing is refused.
    """
    where, kind = _mount_of(file.resolve())
    if kind in _NETWORK or (kind.startswith("fuse") and kind not in _LOCAL_FUSE):
        raise StateError(
            f"{file} cannot hold a state: {where} is a network file system ({kind}), and SQLite's write-ahead log "
            "needs memory that all its processes share",
            hint="name a file on a local disk with --state, or a PostgreSQL URL for a team",
        )


def _mount_of(file: Path) -> tuple[Path, str]:
    """Return where a file's file system is mounted, and its type; the last of several mounts on one folder counts."""
    best = (Path("/"), "")
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return best
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        point = Path(_unescaped(fields[4])) if len(fields) > 4 else None  # noqa: PLR2004 - the fifth field
        if point is not None and file.is_relative_to(point) and len(point.parts) >= len(best[0].parts):
            best = (point, after.split(" ", 1)[0])
    return best


def _unescaped(text: str) -> str:
    """Replace the octal escapes for blanks and backslashes in a mount's path."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
