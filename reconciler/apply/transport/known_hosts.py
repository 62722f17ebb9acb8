"""Reads known_hosts, and says which host keys are trusted. Host keys are always checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import asyncssh

from reconciler.apply.transport.targets import SSH_PORT, Target
from reconciler.errors import HostKeyRejected

HostKeys = Callable[[str, str, "int | None"], Sequence[Sequence[object]]]
"""Returns the keys that are trusted for a host, an address and a port, and those that are revoked, as asyncssh asks."""


def trusted_keys(where: Target) -> HostKeys:
    """Return what asyncssh asks for the keys of a host; raises HostKeyRejected if no file can be read."""
    known = _known_hosts(where)

    def trusted(host: str, address: str, port: int | None) -> Sequence[Sequence[object]]:
        # An alias is looked up alone, as in ssh: many hosts may have this address.
        return known.match(where.alias, "", None) if where.alias else known.match(host, address, port)

    return trusted


def _known_hosts(where: Target) -> asyncssh.SSHKnownHosts:
    """Read the known hosts; a line that cannot be read costs nothing but its own key, as in ssh."""
    contents = []
    missing: OSError | None = None
    for path in where.known_hosts:
        try:
            contents.append(path.read_bytes())
        except OSError as error:
            missing = missing or error
    if not contents:
        reason = missing.strerror if missing else "no file is named"
        raise _unreadable(where, reason or str(missing)) from missing
    lines = [line for line in b"\n".join(contents).splitlines() if line.strip() and not line.lstrip().startswith(b"#")]
    readable = [entry for line in lines if (entry := _known_host(line)) is not None]
    if lines and not readable:
        raise _unreadable(where, "it has no line with a host and its key")
    return asyncssh.import_known_hosts("\n".join(readable))


def _known_host(line: bytes) -> str | None:
    """Return a line of known hosts without its comment, which may hold any bytes; None if it cannot be read."""
    fields = line.split()
    try:
        entry = b" ".join(fields[: 4 if line.lstrip().startswith(b"@") else 3]).decode("ascii")
        asyncssh.import_known_hosts(entry)
    except ValueError:
        return None
    return entry


def _unreadable(where: Target, reason: str) -> HostKeyRejected:
    summary = f"the known hosts in {_files(where)} cannot be read: {reason}"
    return HostKeyRejected(where.name, summary, hint=_key_hint(where))


def _files(where: Target) -> str:
    """Return the files that exist, or the first."""
    found = [str(path) for path in where.known_hosts if path.exists()]
    return " or ".join(found or [str(path) for path in where.known_hosts[:1]]) or "no file"


def _key_hint(where: Target) -> str:
    scan = f"ssh-keyscan -p {where.port} {where.address}"
    if where.via is not None:
        scan = f"ssh {where.via.address} {scan}"
    add = f"add it to the file as the key of {where.alias}" if where.alias else "add it to the file"
    return f"fetch the key with `{scan}`, compare it with the one on the host's own console, then {add}"


def key_error(where: Target) -> HostKeyRejected:
    """Return the error for a host key that is not known, or that has changed, which may be an attack."""
    known = _known_hosts(where)
    port = None if where.port == SSH_PORT or where.alias else where.port
    key = f"the host key of {where.place}" if where.jump else "its host key"
    if not any(known.match(where.alias or where.address, "", port)):
        summary = f"{key} is not in {_files(where)}, so nothing was sent"
        return HostKeyRejected(where.name, summary, hint=_key_hint(where))
    return HostKeyRejected(where.name, f"{key} is not the one in {_files(where)}, so nothing was sent", hint=_CHANGED)


_CHANGED: Final = (
    "this may be an attack; if the host was reinstalled, check the key on its console and replace the old one"
)
