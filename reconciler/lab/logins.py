"""Lets clients log in to the hosts of a lab, checks that logins work, and repairs them while the hosts run."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from reconciler.errors import LabError
from reconciler.lab import process
from reconciler.lab.cluster_files import USER
from reconciler.lab.folder import Folder, Host

_LAB: Final = Path(__file__).parent
# Below Linux's ephemeral ports (32768 and up), so that no outgoing connection sits on a host's port.
_PORTS: Final = range(20000, 32000)
_BACKLOG: Final = 128
_CHECK_WITHIN: Final = 10.0  # seconds; a login takes a third of one on an idle machine
# The acceptor, and the program that has brought it into the host's PID namespace and waits for its end.
_ACCEPTOR: Final = ("python", "nsenter")


def listen(port: int | None) -> socket.socket:
    """Return a socket that listens on the machine's loopback, on `port` or on any that is free.

    Raises `LabError` if the port is taken.
    """
    candidates = [port] if port is not None else secrets.SystemRandom().sample(_PORTS, len(_PORTS))
    for candidate in candidates:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", candidate))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
        else:
            return listener
    raise LabError(
        f"port {port} on 127.0.0.1 is taken by another program" if port else "no port on 127.0.0.1 is free",
        hint="end that program, or remove the lab with `reconciler lab down` and create it again",
    )


def accept(folder: Folder, host: Host, pid: int) -> None:
    """Pass connections on a host's port to it once it is ready; `pid` is its PID 1. `LabError` if the port is taken."""
    argv = ["nsenter", f"--target={pid}", "--pid", "--uts", "--"]
    argv += [os.path.realpath(sys.executable), "-I", "-S", str(_LAB / "acceptor.py"), str(pid)]
    with listen(host.port) as listener:
        process.start(folder, host.name, argv, listener=listener)


def failures(folder: Folder, hosts: Sequence[Host]) -> dict[str, str]:
    """Log in to hosts, all at once, and become root as the verbs do; return what failed, by host name."""
    if not hosts:
        return {}
    with ThreadPoolExecutor(len(hosts)) as pool:
        said = pool.map(lambda host: _failure(folder, host), hosts)
        return {host.name: failure for host, failure in zip(hosts, said, strict=True) if failure is not None}


def repair(folder: Folder, hosts: Sequence[Host], inits: Mapping[str, int]) -> None:
    """Renew the accounts of hosts that are up, and where that is not enough their acceptors.

    `inits` are their PID 1s by name. Guests, switches and sessions are left alone. Raises `LabError` if a login fails
    afterwards.
    """
    for host in hosts:
        _renew_accounts(folder, host, inits[host.name])
    remaining = failures(folder, hosts)
    stuck = [host for host in hosts if host.name in remaining]
    for host in stuck:
        process.end(folder, host.name, _ACCEPTOR)
        accept(folder, host, inits[host.name])
    for name, failure in failures(folder, stuck).items():
        raise _beyond_repair(folder, name, failure)


def _renew_accounts(folder: Folder, host: Host, pid: int) -> None:
    script, ssh = _LAB / "boot/logins.sh", folder.disk(host.name) / "ssh"
    done = process.run(folder, ["sh", str(script), host.name, str(ssh), str(_LAB), str(pid)])
    if done.returncode != 0:
        raise _beyond_repair(folder, host.name, done.stderr.strip().partition("\n")[0])


def _failure(folder: Folder, host: Host) -> str | None:
    options = {
        "BatchMode": "yes",
        "GlobalKnownHostsFile": "/dev/null",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "LogLevel": "ERROR",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": f'"{folder.known_hosts}"',
    }
    argv = ["ssh", "-F", "none", "-i", str(folder.client_key), "-p", str(host.port)]
    argv += [f"-o{name}={value}" for name, value in options.items()]
    argv += [f"{USER}@127.0.0.1", "sudo -n /bin/sh -s"]
    try:
        done = process.run(folder, argv, within=_CHECK_WITHIN)
    except subprocess.TimeoutExpired:
        return f"no answer within {_CHECK_WITHIN:.0f} s"
    return None if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2] or "ssh says nothing"


def _beyond_repair(folder: Folder, host: str, failure: str) -> LabError:
    return LabError(
        f"login to {host} of lab {folder.name} failed and could not be repaired: {failure}",
        hint=f"remove the lab with `reconciler lab down --name {folder.name}` and create it again",
    )
