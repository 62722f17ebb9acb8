"""Writes the keys, the sshd configuration and the cluster file of a lab."""

from __future__ import annotations

import hashlib
from io import StringIO
from pathlib import Path
from typing import Any, Final

from reconciler.apply import transport
from reconciler.errors import LabError
from reconciler.files import SHARED, write_file
from reconciler.lab import process
from reconciler.lab.folder import GATEWAY, Folder, Host, Settings
from reconciler.lab.network import TRUNK, UPLINK

_SSHD_CONFIG: Final = """\
# Each connection has an sshd of its own, started inside the host; keys are the only way in.
HostKey /run/lab/host_key
AuthorizedKeysFile /run/lab/authorized_keys
PermitRootLogin no
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
PidFile none
SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
Subsystem sftp internal-sftp
"""
USER: Final = "reconciler"
_SUDOERS: Final = Path(transport.__file__).parent / "host" / "sudoers"
_CAPACITY: Final = {"vms": 50, "vcpus": 64, "memory": "128GiB"}
_QUOTA: Final = {"slices": 10, **_CAPACITY}


def write_keys(folder: Folder, settings: Settings) -> None:
    """Create missing keys; give each host its host key, the client's key, and its sshd and sudo configuration."""
    _make_key(folder, folder.client_key, f"lab {folder.name}")
    lines = []
    for host in settings.hosts:
        place = folder.disk(host.name) / "ssh"
        place.mkdir(parents=True, exist_ok=True)
        _make_key(folder, place / "host_key", host.name)
        (place / "sshd_config").write_text(_SSHD_CONFIG)
        (place / "sudoers").write_text(_SUDOERS.read_text())
        (place / "authorized_keys").write_text(_public(folder.client_key))
        kind, key = _public(place / "host_key").split()[:2]
        lines.append(f"[127.0.0.1]:{host.port} {kind} {key}\n")
    write_file(folder.known_hosts, "".join(lines))


def write_cluster_file(folder: Folder, settings: Settings, image: Path) -> None:
    """Write the cluster file that describes the lab; `image` is the guest image on this machine."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - takes 0.1 s, and most lab commands do not need it

    text = StringIO(f"# The cluster of lab {folder.name}, written by `reconciler lab up`.\n")
    text.seek(0, 2)
    yaml = YAML()
    yaml.dump(_cluster(folder, settings, image), text)
    write_file(folder.cluster_file, text.getvalue(), mode=SHARED)


def _cluster(folder: Folder, settings: Settings, image: Path) -> dict[str, Any]:
    nodes = {host.name: _node(host) for host in settings.hosts}
    gateway = nodes.pop(GATEWAY)
    with image.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return {
        "version": 1,
        "name": folder.name,
        "workers": [node | {"capacity": dict(_CAPACITY)} for node in nodes.values()],
        "network_node": gateway | {"uplink": UPLINK},
        "ssh": {
            "user": USER,
            "identity_file": str(folder.client_key),
            "known_hosts": str(folder.known_hosts),
            "sudo": True,
        },
        "bridge": {"name": "br-int", "trunk": TRUNK},
        "accelerator": "tcg",
        "placement": "round-robin",
        "vlans": {"range": "100-3999", "per_slice": 20},
        "internet": {"vlan": 400, "subnet": "10.60.7.0/24", "gateway": "10.60.7.1"},
        "links": {"subnets": "192.168.0.0/16"},
        "images": {name: {"file": str(image), "sha256": digest} for name in ("cirros", "ubuntu")},
        "flavors": {
            name: {"image": name, "vcpus": 1, "memory": "256MiB", "disk": "1GiB"} for name in ("cirros", "ubuntu")
        },
        "users": {name: {"quota": dict(_QUOTA)} for name in ("admin", "alice", "bob")},
    }


def _node(host: Host) -> dict[str, Any]:
    return {"name": host.name, "address": host.address, "ssh": {"host": "127.0.0.1", "port": host.port}}


def _make_key(folder: Folder, path: Path, comment: str) -> None:
    """Create an ed25519 key unless both halves exist; ssh-keygen writes the public half last."""
    if path.exists() and path.with_name(path.name + ".pub").exists():
        return
    path.unlink(missing_ok=True)
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    done = process.run(folder, argv)
    if done.returncode != 0:
        raise LabError(f"the lab's keys could not be created: {done.stderr.strip()}")


def _public(path: Path) -> str:
    return path.with_name(path.name + ".pub").read_text()
