"""Tells file systems of a network from those of this machine, and refuses to keep a record on the former."""

from __future__ import annotations

import re
from pathlib import Path

from reconciler.errors import StateError

MOUNTS = Path("/proc/self/mountinfo")
"""The mounts that this process sees: see proc_pid_mountinfo(5)."""

_NETWORK = frozenset(
    ("9p", "afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs")
)
_LOCAL_FUSE = frozenset(("fuseblk", "fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.ntfs-3g"))


def refuse_network(file: Path) -> None:
    """Raise StateError where a file lies, or would lie, on a network's file system.

    SQLite's log of writes is shared through memory, which two machines do not have in common:
    https://www.sqlite.org/wal.html. Where the system does not list its mounts, nothing is refused.
    """
    where, kind = _mount_of(file.resolve())
    if kind in _NETWORK or (kind.startswith("fuse") and kind not in _LOCAL_FUSE):
        raise StateError(
            f"no record can be kept in {file}: {where} is a network file system ({kind}), and SQLite's log of writes "
            "needs memory that all who use it share",
            hint="name a file on a local disk with --state, or a PostgreSQL URL for a team",
        )


def _mount_of(file: Path) -> tuple[Path, str]:
    """Return where the file system of a file is mounted, and its type; of mounts on one place the last is on top."""
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
    """Read the octal escapes that stand for blanks and backslashes in a mount's path."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
