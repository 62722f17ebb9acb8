"""Says who logs in where and how: targets, keys, known hosts; and maps the errors of asyncssh.

Host keys are always checked. Nothing is read from the user's SSH configuration: the cluster file says how to reach a
host.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncssh
from asyncssh.gss import GSSError  # type: ignore[attr-defined]  # defined there or imported, by platform
from asyncssh.misc import SoftEOFReceived

from reconciler.errors import HostError, HostKeyRejected, HostUnknown, HostUnreachable, LoginRejected
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import HostName

KEEPALIVE: Final = 2.5
"""Seconds of silence after which a keepalive is sent; liveness.py checks that something comes back.

asyncssh would count only the replies to keepalives. These wait behind everything that is being sent, for minutes on a
slow link. sshd also acknowledges every 96 KiB (three packets, channels.c), so an upload may fill a link of 10 KB/s.
"""

_UNCOUNTED: Final = 2**31

# asyncssh prefers ChaCha20, which takes it three calls for each packet.
CIPHERS: Final = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
)

FOREIGN: Final = (
    asyncssh.Error,
    asyncssh.ChannelListenError,
    asyncssh.BreakReceived,
    asyncssh.SignalReceived,
    asyncssh.TerminalSizeChanged,
    asyncssh.PasswordChangeRequired,
    GSSError,
    SoftEOFReceived,
    ValueError,  # an invalid key, file or packet
    OSError,
)
"""Every error that asyncssh and its sockets raise; a test compares this with asyncssh's own list."""


@dataclass(frozen=True, slots=True)
class Target:
    """How a host is reached, with all defaults; without `identity`, an agent or the user's own keys are used."""

    name: HostName
    address: str
    port: int
    user: str | None
    identity: Path | None
    known_hosts: Path
    sudo: bool


def target(cluster: Cluster, name: HostName) -> Target:
    """Return how a host is reached: its own settings, else the cluster's, else the defaults; raises HostUnknown."""
    try:
        host = cluster.host(name)
    except KeyError:
        raise HostUnknown(name) from None
    settings = {
        item: own if (own := getattr(host.ssh, item)) is not None else getattr(cluster.ssh, item)
        for item in type(host.ssh).model_fields
    }
    identity, known_hosts = settings["identity_file"], settings["known_hosts"]
    return Target(
        name=name,
        address=settings["host"] or str(host.address),
        port=settings["port"] or 22,
        user=settings["user"],
        identity=Path(identity).expanduser() if identity else None,
        known_hosts=Path(known_hosts or "~/.ssh/known_hosts").expanduser(),
        sudo=bool(settings["sudo"]),
    )


def login_options(where: Target, timeouts: float) -> asyncssh.SSHClientConnectionOptions:
    """Return asyncssh's options; raises HostKeyRejected or LoginRejected if a file is missing or invalid."""
    keys: dict[str, object] = {}
    if where.identity is not None and where.identity.suffix == ".pub":
        keys = {"agent_identities": [_public_key(where)]}
    elif where.identity is not None:
        keys = {"client_keys": _client_keys(where), "agent_path": None}
    if where.user is not None:
        keys["username"] = where.user
    with translated(where):
        return asyncssh.SSHClientConnectionOptions(
            config=None,
            known_hosts=_known_hosts(where),
            preferred_auth="publickey",
            gss_host=None,
            connect_timeout=timeouts,
            login_timeout=timeouts,
            keepalive_interval=KEEPALIVE,
            keepalive_count_max=_UNCOUNTED,
            compression_algs=None,
            encryption_algs=CIPHERS,
            **keys,
        )


def _client_keys(where: Target) -> Sequence[asyncssh.SSHKeyPair]:
    """Return the key of a file: first with its certificate, if there is one beside it, and then alone, as ssh does."""
    with _key_errors(where):
        return asyncssh.load_keypairs([str(where.identity)])


def _public_key(where: Target) -> asyncssh.SSHKey:
    """Return the public key of a file, which picks one key of the agent, as in ssh."""
    with _key_errors(where):
        return asyncssh.read_public_key(str(where.identity))


@contextmanager
def _key_errors(where: Target) -> Iterator[None]:
    """Map the errors of reading a key file to LoginRejected."""
    try:
        yield
    except FileNotFoundError:
        raise LoginRejected(
            where.name, f"there is no key {where.identity}", hint="set ssh.identity_file in the cluster file"
        ) from None
    except (OSError, ValueError) as error:
        raise LoginRejected(
            where.name,
            f"the key {where.identity} cannot be used: {error}",
            hint="load a key with a passphrase into an agent, and set ssh.identity_file to its .pub file",
        ) from error


def _known_hosts(where: Target) -> asyncssh.SSHKnownHosts:
    """Read the known hosts; a line that cannot be read costs nothing but its own key, as in ssh."""
    try:
        content = where.known_hosts.read_bytes()
    except OSError as error:
        raise _unreadable(where, error.strerror or str(error)) from error
    lines = [line for line in content.splitlines() if line.strip() and not line.lstrip().startswith(b"#")]
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
    return HostKeyRejected(
        where.name, f"the known hosts in {where.known_hosts} cannot be read: {reason}", hint=_key_hint(where)
    )


def _key_hint(where: Target) -> str:
    scan = f"ssh-keyscan -p {where.port} {where.address}"
    return f"fetch the key with `{scan}`, compare it with the one on the host's own console, then add it to the file"


@contextmanager
def translated(where: Target) -> Iterator[None]:
    """Map what asyncssh raises inside to an error of this project."""
    try:
        yield
    except FOREIGN as error:
        raise host_error(where, error) from error


def host_error(where: Target, error: BaseException) -> HostError:
    """Return the error of this project for one of asyncssh or a socket."""
    match error:
        case asyncssh.HostKeyNotVerifiable():
            return _key_error(where)
        case asyncssh.KeyExchangeFailed() if "host key" in str(error):
            return _key_error(where)
        case (
            asyncssh.PermissionDenied()
            | asyncssh.IllegalUserName()
            | asyncssh.PasswordChangeRequired()
            | asyncssh.KeyEncryptionError()
            | asyncssh.KeyImportError()
        ):
            user = f" as {where.user}" if where.user else ""
            return LoginRejected(where.name, f"login{user} was rejected: {_reason(error)}", hint=_login_hint(where))
        case asyncssh.DisconnectError() if "authentication failures" in _reason(error).lower():
            return LoginRejected(where.name, f"login was rejected: {_reason(error)}", hint=_AGENT_HINT)
        case _:
            return HostUnreachable(where.name, _no_connection(where, error))


def _no_connection(where: Target, error: BaseException) -> str:
    match error:
        case ConnectionRefusedError():
            return f"{where.address} refuses connections on port {where.port}"
        case TimeoutError():
            return f"{where.address} port {where.port} did not answer in time"
        case asyncssh.ChannelOpenError():
            return f"no session could be opened: {_reason(error)}"
        case _:
            return f"{where.address} port {where.port}: {_reason(error)}"


def _reason(error: BaseException) -> str:
    """Return an error's own message, or its type if it has none."""
    return getattr(error, "reason", None) or str(error) or type(error).__name__


_AGENT_HINT: Final = (
    "the agent offers more keys than the host lets anybody try: set ssh.identity_file to the .pub file of the right one"
)


def _login_hint(where: Target) -> str:
    if where.identity is not None and where.identity.suffix == ".pub":
        return f"load {where.identity.with_suffix('')} into the agent with ssh-add, and add the .pub file on the host"
    key = f"{where.identity}.pub" if where.identity else "your public key"
    return f"add {key} to ~/.ssh/authorized_keys of the host, or set ssh.user and ssh.identity_file"


def _key_error(where: Target) -> HostKeyRejected:
    """Return the error for a host key that is not known, or that has changed, which may be an attack."""
    port = where.port if where.port != asyncssh.DEFAULT_PORT else None
    known = asyncssh.match_known_hosts(str(where.known_hosts), where.address, "", port)
    if not any(known):
        return HostKeyRejected(
            where.name, f"its host key is not in {where.known_hosts}, so nothing was sent", hint=_key_hint(where)
        )
    return HostKeyRejected(
        where.name,
        f"its host key is not the one in {where.known_hosts}, so nothing was sent",
        hint="this may be an attack; if the host was reinstalled, check the key on its console and replace the old one",
    )
