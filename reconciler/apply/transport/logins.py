"""Logs in to targets: keys, known hosts; and maps the errors of asyncssh. Host keys are always checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncssh
from asyncssh.gss import GSSError  # type: ignore[attr-defined]  # defined there or imported, by platform
from asyncssh.misc import SoftEOFReceived

from reconciler.apply.transport.known_hosts import key_error, trusted_keys
from reconciler.apply.transport.ssh_config import SshKeys
from reconciler.apply.transport.targets import Target
from reconciler.errors import HostError, HostUnreachable, LoginRejected

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


def login_options(where: Target, timeouts: float) -> asyncssh.SSHClientConnectionOptions:
    """Return asyncssh's options; raises HostKeyRejected or LoginRejected if a file is missing or invalid."""
    keys: dict[str, object] = {}
    if where.identity is not None and where.identity.suffix == ".pub":
        keys = {"agent_identities": [_public_key(where)]}
    elif where.identity is not None:
        keys = {"client_keys": _client_keys(where), "agent_path": None}
    elif where.keys is not None:
        keys = _configured_keys(where, where.keys)
    if where.user is not None:
        keys["username"] = where.user
    with translated(where):
        return asyncssh.SSHClientConnectionOptions(
            config=None,
            known_hosts=trusted_keys(where),
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
    with _key_errors(where, str(where.identity)):
        return asyncssh.load_keypairs([str(where.identity)])


def _configured_keys(where: Target, keys: SshKeys) -> dict[str, object]:
    """Return what ssh would offer: keys of the agent, then of files. A file that is missing costs nothing, as there."""
    with _key_errors(where, "of the SSH configuration"):
        certificates = asyncssh.load_certificates([str(path) for path in keys.certificates if path.exists()])
        files = [str(path) for path in keys.identities if path.suffix != ".pub" and path.exists()]
        private = asyncssh.load_keypairs(files, None, certificates, ignore_encrypted=True)
        public = [other for path in keys.identities if (other := _public_half(path)).exists()] if keys.only else []
        allowed = [asyncssh.read_public_key(str(path)) for path in public]
    agent = None if keys.only and keys.identities and not allowed else keys.agent or None
    options: dict[str, object] = {"agent_path": agent}
    if allowed:
        options["agent_identities"] = allowed
    return options | ({"client_keys": private} if private else {"client_certs": certificates})


def _public_half(identity: Path) -> Path:
    return identity if identity.suffix == ".pub" else identity.with_name(f"{identity.name}.pub")


def _public_key(where: Target) -> asyncssh.SSHKey:
    """Return the public key of a file, which picks one key of the agent, as in ssh."""
    with _key_errors(where, str(where.identity)):
        return asyncssh.read_public_key(str(where.identity))


@contextmanager
def _key_errors(where: Target, key: str) -> Iterator[None]:
    """Map the errors of reading a key file to LoginRejected."""
    try:
        yield
    except FileNotFoundError:
        hint = "set ssh.identity_file in the cluster file"
        raise LoginRejected(where.name, f"there is no key {key}", hint=hint) from None
    except (OSError, ValueError) as error:
        hint = "load a key with a passphrase into an agent, and set ssh.identity_file to its .pub file"
        raise LoginRejected(where.name, f"the key {key} cannot be used: {error}", hint=hint) from error


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
            return key_error(where)
        case asyncssh.KeyExchangeFailed() if "host key" in str(error):
            return key_error(where)
        case (
            asyncssh.PermissionDenied()
            | asyncssh.IllegalUserName()
            | asyncssh.PasswordChangeRequired()
            | asyncssh.KeyEncryptionError()
            | asyncssh.KeyImportError()
        ):
            return LoginRejected(where.name, f"{_login(where)} was rejected: {_reason(error)}", hint=_login_hint(where))
        case asyncssh.DisconnectError() if "authentication failures" in _reason(error).lower():
            return LoginRejected(where.name, f"{_login(where)} was rejected: {_reason(error)}", hint=_AGENT_HINT)
        case _:
            return HostUnreachable(where.name, _no_connection(where, error))


def _login(where: Target) -> str:
    user = f" as {where.user}" if where.user else ""
    return f"login{user} on {where.place}" if where.jump else f"login{user}"


def _no_connection(where: Target, error: BaseException) -> str:
    match error:
        case ConnectionRefusedError():
            return f"{where.machine} refuses connections on port {where.port}"
        case TimeoutError():
            return f"{where.place} did not answer in time"
        case asyncssh.ChannelOpenError():
            return f"no session could be opened: {_reason(error)}"
        case _:
            return f"{where.place}: {_reason(error)}"


def no_way(where: Target, error: asyncssh.ChannelOpenError) -> HostUnreachable:
    """Return the error for a jump host that does not connect to the next host."""
    via = where.via or where
    hint = f"let sshd of {via.address} forward connections there: AllowTcpForwarding, PermitOpen and authorized_keys"
    return HostUnreachable(where.name, f"{via.place} does not connect to {where.place}: {_reason(error)}", hint=hint)


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
    if where.jump:
        return f"add {key} to ~/.ssh/authorized_keys of {where.address}, or name the user in {where.jump}: USER@HOST"
    return f"add {key} to ~/.ssh/authorized_keys of the host, or set ssh.user and ssh.identity_file"
