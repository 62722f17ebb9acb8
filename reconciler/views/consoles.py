"""Writes the commands with which a person reaches the screen and the serial port of a VM over SSH."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.spec.models.cluster import Cluster, Host, Jump, Login, parse_jumps
from reconciler.views.slices import SliceView, VmView

_KNOWN_HOSTS: Final = "~/.ssh/known_hosts"
_SHELL: Final = "/bin/sh -s"


@dataclass(frozen=True, slots=True)
class Consoles:
    """The commands for one VM: `vnc` forwards a port of this machine to its screen, `serial` connects a terminal."""

    vnc: str
    serial: str


def consoles(one: SliceView, cluster: Cluster, script: Path) -> dict[str, Consoles]:
    """Return the commands for each VM that was created, on a worker of the cluster file.

    `script` forwards a socket on a host; see rootshell.py.
    """
    hosts: dict[str, Host] = {host.name: host for host in cluster.hosts()}
    reached = [(vm, hosts[vm.worker]) for vm in one.vms if vm.serial and vm.worker in hosts]
    return {vm.name: _consoles(vm, cluster.login(host), script) for vm, host in reached}


def _consoles(vm: VmView, login: Login, script: Path) -> Consoles:
    port = vm.vnc.rpartition(":")[2]
    root = f"{'sudo -n ' if login.sudo else ''}{_SHELL} forward {vm.serial}"
    serial = f"cat {shlex.quote(str(script))} - | {_ssh(login)} {shlex.quote(root)}"
    return Consoles(vnc=_ssh(login, f"-N -L {port}:{vm.vnc}"), serial=f"stty -icanon -echo; {serial}; stty sane")


def _ssh(login: Login, options: str = "") -> str:
    """Return the command that logs in as the reconciler does; the user's SSH configuration says the rest there too."""
    words = ["ssh", *options.split(), *_keys(login)]
    jumps = parse_jumps(login.proxy_jump or "none")
    if login.config and login.proxy_jump:
        words += ["-o", f"ProxyJump={login.proxy_jump}"]
    elif jumps:
        words += ["-o", f"ProxyCommand={_through(jumps, login)}"]
    if login.port:
        words += ["-p", str(login.port)]
    return " ".join(map(_quoted, (*words, f"{login.user}@{login.host}" if login.user else str(login.host))))


def _through(jumps: tuple[Jump, ...], login: Login) -> str:
    """Return the command that leads through jump hosts; for `ssh -J` these would need keys of their own."""
    *before, last = jumps
    words = ["ssh", "-W", "[%h]:%p", *_keys(login)]
    if before:
        inner = _through(tuple(before), login).replace("%", "%%")
        words += ["-o", f"ProxyCommand={inner}"]
    words += ["-p", str(last.port)] if last.port else []
    return " ".join(map(_quoted, (*words, f"{last.user}@{last.host}" if last.user else last.host)))


def _keys(login: Login) -> list[str]:
    words = []
    if login.identity_file:
        words += ["-i", login.identity_file, "-o", "IdentitiesOnly=yes"]
    if login.known_hosts and login.known_hosts != _KNOWN_HOSTS:
        words += ["-o", f"UserKnownHostsFile={login.known_hosts}"]
    return words


def _quoted(word: str) -> str:
    """Quote a word for a shell, which replaces `~/` before it only without quotes."""
    return f"~/{shlex.quote(word[2:])}" if word.startswith("~/") else shlex.quote(word)
