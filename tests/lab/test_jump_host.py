"""On hosts: a slice is applied through a real sshd that only forwards, as the user's SSH configuration says."""

from __future__ import annotations

import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from reconciler.lab.folder import locate
from tests.lab.site import Site, wait_until

pytestmark = pytest.mark.lab

SLICE = "version: 1\nname: behind\nowner: admin\ndefaults: {flavor: cirros}\nvms: {web: {internet: true}}\n"
_ON_A_RUN_OF_ITS_OWN = "mount -t tmpfs none /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -e -f"


@pytest.fixture
def jump(tmp_path: Path) -> Iterator[int]:
    """Run an sshd that forwards connections and gives no session; its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    for key in ("id_host", "id_jump"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / key)], check=True)
    keys = tmp_path / "authorized_keys"
    keys.write_text(f'restrict,port-forwarding,command="/bin/false" {(tmp_path / "id_jump.pub").read_text()}')
    (tmp_path / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {tmp_path}/id_host\nAuthorizedKeysFile {keys}\n"
        "PasswordAuthentication no\nStrictModes no\nUsePAM no\nPidFile none\n"
    )
    line = f"{_ON_A_RUN_OF_ITS_OWN} {shlex.quote(str(tmp_path / 'sshd_config'))}"
    log = tmp_path / "sshd.log"
    with log.open("w") as errors:
        sshd = subprocess.Popen(["unshare", "--mount", "sh", "-c", line], stderr=errors)
    try:
        wait_until(lambda: "Server listening" in log.read_text(), "sshd")
        yield port
    finally:
        sshd.send_signal(signal.SIGTERM)
        sshd.wait(timeout=10)


def through(site: Site, home: Path, port: int) -> Site:
    """Write a cluster file and a configuration of SSH that lead to all hosts of the lab through the jump host."""
    yaml = YAML(typ="safe")
    cluster = yaml.load(site.cluster)
    known = [f"[127.0.0.1]:{port} {(site.folder / 'id_host.pub').read_text()}"]
    config = [f"Host door\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {site.folder}/id_jump\n"]
    keys = dict(line.split(" ", 1) for line in locate(site.lab.name).known_hosts.read_text().splitlines())
    for host in (*cluster["workers"], cluster["network_node"]):
        own = host["ssh"]["port"]
        config.append(
            f"Host {host['name']}.lab\n  HostName 127.0.0.1\n  Port {own}\n  ProxyJump root@door\n"
            f"  HostKeyAlias {host['name']}\n"
        )
        known.append(f"{host['name']} {keys[f'[127.0.0.1]:{own}']}\n")
        host["ssh"] = {"host": f"{host['name']}.lab"}
    del cluster["ssh"]["known_hosts"]
    cluster["ssh"]["config"] = True
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "config").write_text("".join(config))
    (home / ".ssh" / "known_hosts").write_text("".join(known))
    path = site.folder / "jump-cluster.yaml"
    with path.open("w") as stream:
        yaml.dump(cluster, stream)
    return replace(site, cluster=path)


def test_a_slice_is_applied_through_a_jump_host(
    site: Site, jump: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = through(site, tmp_path / "home", jump)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = behind.write(SLICE)
    behind.apply(path)
    behind.in_sync(path)
    hosts = behind.do("hosts").out
    assert hosts.count("ready") == 4, hosts
    log = (tmp_path / "sshd.log").read_text()
    assert log.count("Accepted publickey for root") >= 3, "each command has logged in there, once for all hosts"
    assert log.count("Accepted publickey for root") <= 5
