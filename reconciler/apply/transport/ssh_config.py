"""Reads what the SSH configuration of the user and of this machine says about a host.

asyncssh parses it: with Host, Match, Include and tokens, without canonical host names. Algorithms, time limits, and
what weakens the check of host keys are not taken from it.
"""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from asyncssh.config import SSHClientConfig

_FILES: Final = ("~/.ssh/config", "/etc/ssh/ssh_config")
_KNOWN: Final = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
_KNOWN_TO_ALL: Final = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")


@dataclass(frozen=True, slots=True)
class SshKeys:
    """Which keys SSH offers. Without `identities`, those with the usual names; `agent` is a socket, "" for none."""

    identities: tuple[Path, ...]
    certificates: tuple[Path, ...]
    only: bool
    agent: str


@dataclass(frozen=True, slots=True)
class SshSettings:
    """What the configuration says about one host; None where it says nothing."""

    host: str
    port: int | None
    user: str | None
    keys: SshKeys
    known_hosts: tuple[Path, ...]
    alias: str | None
    jumps: str | None
    command: str | None


def read_ssh_config(host: str, user: str | None, port: int | None) -> SshSettings:
    """Return what holds for a host that is called so on the command line of ssh; raises ValueError or OSError."""
    files = [path for name in _FILES if (path := Path(name).expanduser()).exists()]
    try:
        local = getpass.getuser()
    except KeyError:
        msg = "this process has no user name: set USER"
        raise ValueError(msg) from None
    about = (local, () if user is None else user, host, () if port is None else port)
    found: Any = SSHClientConfig.load(None, files, False, False, False, *about)  # noqa: FBT003 - it takes no keywords
    if found.has_match_final():
        found = SSHClientConfig.load(found, files, True, False, True, *about)  # noqa: FBT003 - see above
    return SshSettings(
        host=found.get("Hostname", host),
        port=found.get("Port"),
        user=found.get("User"),
        keys=SshKeys(
            identities=_paths(found.get("IdentityFile")),
            certificates=_paths(found.get("CertificateFile")),
            only=bool(found.get("IdentitiesOnly")),
            agent=_agent(found.get("IdentityAgent", "SSH_AUTH_SOCK")),
        ),
        known_hosts=_known_hosts(found),
        alias=found.get("HostKeyAlias"),
        jumps=found.get("ProxyJump"),
        command=found.get("ProxyCommand"),
    )


def _paths(names: list[str] | None) -> tuple[Path, ...]:
    return tuple(Path(name).expanduser() for name in names or ())


def _agent(value: str | None) -> str:
    """Return an agent's socket: `none`, SSH_AUTH_SOCK, another variable after `$`, or a path."""
    if value is None:
        return ""
    if value == "SSH_AUTH_SOCK" or value.startswith("$"):
        return os.environ.get(value.removeprefix("$"), "")
    return str(Path(value).expanduser())


def _known_hosts(found: Any) -> tuple[Path, ...]:
    """Return the files with host keys: this user's, then those of all users."""
    own, shared = found.get("UserKnownHostsFile", _KNOWN), found.get("GlobalKnownHostsFile", _KNOWN_TO_ALL)
    return _paths([*own, *shared])
