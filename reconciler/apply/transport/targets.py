"""Says how each host is reached: its address, the login there, and the jump hosts on the way.

The cluster file's settings count first. With `ssh.config: true`, the user's SSH configuration says what they leave
out; without it, nothing is read from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

from reconciler.apply.transport.ssh_config import SshKeys, SshSettings, read_ssh_config
from reconciler.errors import HostUnknown, HostUnreachable
from reconciler.spec.models.cluster import Cluster, Jump, Login, parse_jumps
from reconciler.spec.models.names import HostName

SSH_PORT: Final = 22
_KNOWN_HOSTS: Final = "~/.ssh/known_hosts"


@dataclass(frozen=True, slots=True)
class Target:
    """How a host is reached, with all defaults.

    `identity` is the key that the cluster file names; without it `keys` are offered, and without these an agent's and
    the user's own. `alias` is the host's name in `known_hosts`. `via` is the jump host before it, whose own `via` is
    the one before that; a jump host has the `name` of the host behind it, and `jump` says which setting names it.
    """

    name: HostName
    address: str
    port: int
    user: str | None
    identity: Path | None
    known_hosts: tuple[Path, ...]
    sudo: bool
    keys: SshKeys | None = None
    alias: str | None = None
    via: Target | None = None
    jump: str | None = None

    @property
    def machine(self) -> str:
        """The address, for messages, which say whether it is a jump host."""
        return f"the jump host {self.address}" if self.jump else self.address

    @property
    def place(self) -> str:
        """The address and port, for messages."""
        return f"{self.machine} port {self.port}"

    @property
    def route(self) -> tuple[object, ...]:
        """What two targets have in common if one connection can serve both."""
        before = None if self.via is None else self.via.route
        login = (self.address, self.port, self.user, self.identity, self.keys)
        return (*login, self.known_hosts, self.alias, before)


def target(cluster: Cluster, name: HostName) -> Target:
    """Return how a host is reached: its own settings, else the cluster's, else those of SSH, else the defaults.

    Raises HostUnknown, or HostUnreachable if the SSH configuration cannot be used. It may take a while: a `Match exec`
    there runs a command.
    """
    try:
        host = cluster.host(name)
    except KeyError:
        raise HostUnknown(name) from None
    given = cluster.login(host)
    address = given.host or str(host.address)
    said = _said(name, address, given.user, given.port) if given.config else None
    identity = _path(given.identity_file)
    return Target(
        name=name,
        address=_plain(said.host if said else address),
        port=given.port or (said.port if said else None) or SSH_PORT,
        user=given.user or (said.user if said else None),
        identity=identity,
        known_hosts=_known_hosts(given.known_hosts, said),
        sudo=bool(given.sudo),
        keys=said.keys if said and identity is None else None,
        alias=said.alias if said else None,
        via=_Way(name, given).before(given.proxy_jump, said, ()),
    )


@dataclass(frozen=True, slots=True)
class _Way:
    """Finds the jump hosts before a host, whose settings in the cluster file are `given`."""

    host: HostName
    given: Login

    def before(self, jumps: str | None, said: SshSettings | None, behind: tuple[str, ...]) -> Target | None:
        """Return the last jump host before a host; `behind` are the jump hosts between that and the way's end."""
        setting = "proxy_jump in the cluster file"
        if jumps is None and said is not None:
            setting, jumps = "ProxyJump in the SSH configuration", said.jumps
            if jumps is None and said.command is not None:
                raise self._error(
                    "the SSH configuration has a ProxyCommand for it, which is not supported",
                    "use ProxyJump there, or set ssh.proxy_jump in the cluster file",
                )
        if jumps is None:
            return None
        try:
            way = parse_jumps(jumps)
        except ValueError as error:
            raise self._error(f"{setting} is {jumps!r}", str(error)) from None
        via: Target | None = None
        for number, jump in enumerate(way):
            via = self._jump(jump, setting, via, behind, first=number == 0)
        return via

    def _jump(self, jump: Jump, setting: str, via: Target | None, behind: tuple[str, ...], *, first: bool) -> Target:
        """Return a jump host. What the SSH configuration says about it counts before the keys of the host behind it."""
        if jump.host in behind:
            way = " -> ".join((jump.host, *behind))
            hint = f"set `ProxyJump none` for {jump.host} in ~/.ssh/config"
            raise self._error(f"its jump hosts go round in a circle: {way}", hint)
        said = _said(self.host, jump.host, jump.user, jump.port) if self.given.config else None
        if first and said is not None:
            via = self.before(None, said, (jump.host, *behind))
        keys = said.keys if said and said.keys.identities else None
        return Target(
            name=self.host,
            address=_plain(said.host if said else jump.host),
            port=jump.port or (said.port if said else None) or SSH_PORT,
            user=jump.user or (said.user if said else None),
            identity=None if keys else _path(self.given.identity_file),
            known_hosts=_known_hosts(self.given.known_hosts, None) + (said.known_hosts if said else ()),
            sudo=False,
            keys=keys or (said.keys if said and not self.given.identity_file else None),
            alias=said.alias if said else None,
            via=via,
            jump=setting,
        )

    def _error(self, summary: str, hint: str) -> HostUnreachable:
        return HostUnreachable(self.host, summary, hint=hint)


def _said(name: HostName, host: str, user: str | None, port: int | None) -> SshSettings:
    try:
        return read_ssh_config(host, user, port)
    except (OSError, ValueError) as error:
        hint = "correct it, or leave `config: true` out of `ssh` in the cluster file"
        raise HostUnreachable(name, f"the SSH configuration cannot be used: {error}", hint=hint) from error


def _known_hosts(named: str | None, said: SshSettings | None) -> tuple[Path, ...]:
    if named is None and said is not None:
        return said.known_hosts
    return (Path(named or _KNOWN_HOSTS).expanduser(),)


def _path(name: str | None) -> Path | None:
    return Path(name).expanduser() if name else None


def _plain(host: str) -> str:
    """Return an IPv6 address in the form that known_hosts has it in, and anything else as it is."""
    try:
        return str(IPv6Address(host))
    except ValueError:
        return host
