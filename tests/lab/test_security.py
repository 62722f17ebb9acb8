"""Who may do what on a host: the login user by sudo, a key behind the gate, another host, anybody outside."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from reconciler import lab as labs
from reconciler.apply import transport
from reconciler.apply.transport.rootshell import BEGIN, FORWARD, GET, PUT, READY, SHELL
from reconciler.apply.transport.ssh import SshConnector
from reconciler.errors import HostError
from reconciler.lab.cluster_files import USER
from reconciler.lab.folder import locate
from reconciler.spec.load import load_cluster
from reconciler.spec.models.cluster import FIRST_UID
from reconciler.spec.models.names import HostName
from reconciler.trees import DISK
from tests.lab.site import Site, on_host

pytestmark = pytest.mark.lab

ON_HOSTS = Path(transport.__file__).parent / "host"
WORKER = HostName("worker1")
SOURCE = Path("/etc/hostname")
SLICE = """\
version: 1
name: locked
owner: alice
vms:
  web: {flavor: cirros, worker: worker1}
"""
ALLOWED = ["sudo", "-n", *SHELL]
REFUSED = [
    "sudo -n id",
    "sudo -n /bin/sh",
    "sudo -n /bin/sh -c id",
    "sudo -n /bin/sh -s put /etc/passwd 3",
    "sudo -n /bin/sh -s put /var/lib/reconciler/images/../../../../etc/passwd 3",
    "sudo -n /bin/sh -s put /var/lib/reconciler/images/a/b 3",
    "sudo -n /bin/sh -s put /var/lib/reconciler/images/a -3",
    "sudo -n /bin/sh -s forward /run/openvswitch/db.sock",
    "sudo -n /bin/sh -s forward /var/lib/reconciler/vms/1001/../../../../run/openvswitch/db.sock",
    "sudo -n /bin/sh -s forward 10.0.10.2:22",
    "sudo -n /bin/sh -s forward localhost:22",
    "sudo -n /bin/sh -s forward localhost:5432",
    "sudo -n /bin/sh -s forward localhost:59010000",
    "sudo -n /bin/sh -s id",
]


@dataclass(frozen=True)
class Login:
    """One way to log in to a host: OpenSSH's own client, with a key and nothing of the user's configuration."""

    lab: labs.LabInfo
    key: Path
    user: str = USER

    def ssh(self, *command: str, options: tuple[str, ...] = (), stdin: str = "") -> subprocess.CompletedProcess[str]:
        port = next(host.port for host in labs.status(self.lab.name).hosts if host.name == WORKER)
        argv = ["ssh", "-T", "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i", str(self.key)]
        argv += ["-o", f"UserKnownHostsFile={locate(self.lab.name).known_hosts}", "-p", str(port), *options]
        argv += [f"{self.user}@127.0.0.1", *command]
        return subprocess.run(argv, input=stdin, text=True, capture_output=True, check=False, timeout=60)


@pytest.fixture
def login(lab: labs.LabInfo) -> Login:
    return Login(lab, locate(lab.name).client_key)


@pytest.fixture
def gated(lab: labs.LabInfo, tmp_path: Path) -> Iterator[Login]:
    """Let one more key in on worker1, through the gate, as docs/security.md says."""
    key = tmp_path / "gated"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    line = f'restrict,command="/run/lab/reconciler-gate alice /run/lab/gate.log" {key.with_suffix(".pub").read_text()}'
    gate = shlex.quote((ON_HOSTS / "reconciler-gate").read_text())
    on_host(
        lab,
        WORKER,
        f"printf %s {gate} > /run/lab/reconciler-gate; chmod 755 /run/lab/reconciler-gate\n"
        f"cp /run/lab/authorized_keys /run/lab/before; echo {shlex.quote(line.strip())} >> /run/lab/authorized_keys\n"
        f": > /run/lab/gate.log; chown {USER} /run/lab/gate.log",
    )
    yield Login(lab, key)
    on_host(lab, WORKER, "cat /run/lab/before > /run/lab/authorized_keys; rm /run/lab/before /run/lab/gate.log")


def behind(gated: Login, folder: Path) -> Path:
    """Return the lab's cluster file with worker1 reached by the key that is behind the gate."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - this test alone writes YAML

    yaml = YAML()
    cluster = yaml.load(gated.lab.cluster_file)
    cluster["workers"][0]["ssh"]["identity_file"] = str(gated.key)
    path = folder / "cluster.yaml"
    with path.open("w") as stream:
        yaml.dump(cluster, stream)
    return path


def test_root_and_strangers_do_not_get_in(login: Login, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    for one in (Login(login.lab, login.key, "root"), Login(login.lab, tmp_path / "key")):
        done = one.ssh("id")
        assert (done.returncode, done.stdout) == (255, "")
        assert "Permission denied (publickey)." in done.stderr


def test_the_login_user_runs_the_list_and_nothing_else(login: Login) -> None:
    assert login.ssh(shlex.join(ALLOWED), stdin="id -un; echo $PATH").stdout.splitlines() == [
        "root",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]
    script = "\n".join(f"{command} < /dev/null && echo 'it ran'" for command in REFUSED)
    done = login.ssh(script)
    assert (done.stdout, done.stderr) == ("", "sudo: a password is required\n" * len(REFUSED))


def test_the_machines_own_people_are_not_touched(lab: labs.LabInfo) -> None:
    assert on_host(lab, WORKER, f"id -u {USER}; stat -c %a /etc/shadow /etc/sudoers.d/{USER}").split() == [
        "60990",
        "600",
        "440",
    ]
    assert f"\n{USER}:" not in Path("/etc/passwd").read_text()
    assert not Path("/etc/sudoers.d", USER).exists()
    assert on_host(lab, WORKER, f"cat /etc/sudoers.d/{USER}") == (ON_HOSTS / "sudoers").read_text().strip()


async def test_what_sudo_will_not_do_is_said_with_a_remedy(lab: labs.LabInfo) -> None:
    connector = SshConnector(load_cluster(DISK, lab.cluster_file).cluster)
    connection = await connector.connect(WORKER)
    with pytest.raises(HostError, match="sudo: a password is required") as caught:
        await connection.put(SOURCE, "/etc/elsewhere")
    await connector.close()
    assert f"`{USER} ALL=(root) NOPASSWD: /bin/sh -s`" in (caught.value.hint or "")


def test_sockets_of_a_vm_are_reached_through_ssh_and_no_other_way(site: Site) -> None:
    site.apply(site.write(SLICE))
    (vm,) = site.vms("locked").values()
    folder = f"/var/lib/reconciler/vms/{vm.data['id']}"
    port = int(vm.data["vnc"].rpartition(":")[2])
    assert on_host(site.lab, WORKER, f"stat -c '%U %a' {folder}") == "root 710"
    refused = f"setpriv --reuid=60990 --regid=60990 --clear-groups ls {folder} 2>&1 || echo refused"
    assert "Permission denied" in on_host(site.lab, WORKER, refused)
    assert on_host(site.lab, WORKER, f"ss -Hltn 'sport = :{port}'").split()[3] == f"127.0.0.1:{port}"
    knock = f"busybox timeout 3 busybox nc 10.0.10.1 {port} < /dev/null 2>&1 || echo refused"
    assert "refused" in on_host(site.lab, "worker2", knock)
    with closing(socket.socket()) as outside:
        assert outside.connect_ex(("127.0.0.1", port)) != 0
    greetings = asyncio.run(_greetings(site.cluster, [f"localhost:{port}", f"{folder}/qmp.sock"]))
    assert greetings[0].startswith(b"RFB 003.")
    assert "QMP" in json.loads(greetings[1])


async def _greetings(cluster: Path, places: list[str]) -> list[bytes]:
    """Return the first line that each socket of worker1 says to who comes through SSH as the login user."""
    connector = SshConnector(load_cluster(DISK, cluster).cluster)
    connection = await connector.connect(WORKER)
    heard = []
    for place in places:
        async with connection.forward(place) as local:
            reader, writer = await asyncio.open_unix_connection(local)
            heard.append(await reader.readline())
            writer.close()
    await connector.close()
    return heard


def test_qemu_is_a_user_without_capabilities_and_cannot_start_a_program(site: Site) -> None:
    site.apply(site.write(SLICE))
    (vm,) = site.vms("locked").values()
    status = dict(
        line.split(":", 1)
        for line in on_host(site.lab, vm.worker, f"cat /proc/{vm.pid}/status").splitlines()
        if line.startswith(("Cap", "NoNewPrivs", "Seccomp:", "Uid", "Gid", "Groups"))
    )
    user = "\t".join([str(FIRST_UID + vm.data["id"])] * 4)
    assert {name: value.strip() for name, value in status.items()} == {
        "Uid": user,
        "Gid": user,
        "Groups": "",
        **dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0" * 16),
        "NoNewPrivs": "1",
        "Seccomp": "2",  # a filter: QEMU's own, which allows neither fork nor exec
    }
    assert "spawn=deny" in on_host(site.lab, vm.worker, f"tr '\\0' ' ' < /proc/{vm.pid}/cmdline")


def test_a_slice_is_applied_through_the_gate_and_noted(gated: Login, site: Site, tmp_path: Path) -> None:
    through = Site(site.lab, site.folder, behind(gated, tmp_path))
    through.apply(through.write(SLICE))
    through.do("drift")
    (vm,) = through.vms("locked").values()
    (greeting,) = asyncio.run(_greetings(through.cluster, [f"/var/lib/reconciler/vms/{vm.data['id']}/qmp.sock"]))
    assert "QMP" in json.loads(greeting)
    through.destroy("locked")
    noted = on_host(site.lab, WORKER, "cat /run/lab/gate.log").splitlines()
    assert all(" alice from 127.0.0.1: " in line for line in noted)
    kinds = {line.split(": ", 1)[1].split()[0] for line in noted}
    assert kinds == {"batch", "put", "forward"}
    assert len({line.rpartition(" sha256 ")[2] for line in noted if ": batch " in line}) > 3


def test_the_gate_refuses_all_else_in_one_line(gated: Login) -> None:
    injected = [
        "sudo -n /bin/sh -s; id",
        "sudo -n /bin/sh -s\nid",
        "sudo -n /bin/sh -s $(id)",
        "/bin/sh -s",
        "scp -t /",
    ]
    for command in ["", "id", "put ../../etc/passwd", *REFUSED, *injected]:
        done = gated.ssh(*[command][: len(command)], stdin="id\n")
        assert (done.returncode, done.stdout) == (126, ""), command
        assert done.stderr.startswith("reconciler-gate: this key is for the reconciler alone: ")
        assert done.stderr.count("\n") == 1
    assert gated.ssh("sudo -n /bin/sh -s", stdin="id -u").stdout == "0\n"
    noted = on_host(gated.lab, WORKER, "cat /run/lab/gate.log").splitlines()
    assert sum(": refused: " in line for line in noted) == len(REFUSED) + len(injected) + 3


def test_the_gate_logs_a_script_that_it_does_not_know_as_a_whole(gated: Login) -> None:
    command = "sudo -n /bin/sh -s get /var/lib/reconciler/images/none"
    assert gated.ssh(command, stdin=GET).stdout == "there is no file /var/lib/reconciler/images/none\n"
    other = f"begin() {{\nid -u; echo '\033[2J'\n: {'x' * 1000}\n}}\n{BEGIN}"
    assert gated.ssh(command, stdin=other).stdout.startswith("0\n")
    known, first, *noted = on_host(gated.lab, WORKER, "cat /run/lab/gate.log").splitlines()
    place = "get /var/lib/reconciler/images/none sha256 "
    assert known.endswith(f"{place}{sha256(GET.encode()).hexdigest()}")
    assert first.endswith(f"{place}{sha256(other.encode()).hexdigest()}, an unknown script:")
    told = [line.partition(" alice from 127.0.0.1:     ")[2] for line in noted]
    assert told[:2] == ["begin() {", "id -u; echo '?[2J'"]
    assert "".join(told[2:-2]) == f": {'x' * 1000}"
    assert told[-2:] == ["}", BEGIN.rstrip("\n")]


def test_a_port_without_a_vm_is_not_reached_though_something_listens(login: Login) -> None:
    pid = on_host(login.lab, WORKER, "busybox httpd -f -p 127.0.0.1:5999 > /dev/null 2>&1 & echo $!; sleep 0.3")
    done = login.ssh("sudo -n /bin/sh -s forward localhost:5999", stdin=FORWARD)
    assert done.stdout == "no VM has the VNC port localhost:5999\n"
    assert READY not in done.stdout
    on_host(login.lab, WORKER, f"kill {pid}")


def test_the_gate_opens_no_terminal_no_port_and_no_copy(gated: Login) -> None:
    terminal = gated.ssh(options=("-tt",))
    assert (terminal.returncode, terminal.stdout) == (255, "")
    assert "PTY allocation request failed" in terminal.stderr
    assert "administratively prohibited" in gated.ssh(options=("-W", "localhost:22")).stderr
    port = next(host.port for host in labs.status(gated.lab.name).hosts if host.name == WORKER)
    known = locate(gated.lab.name).known_hosts
    argv = ["scp", "-F", "none", "-B", "-i", str(gated.key), "-o", f"UserKnownHostsFile={known}", "-P", str(port)]
    copied = subprocess.run(
        [*argv, str(SOURCE), f"{USER}@127.0.0.1:copied"], text=True, capture_output=True, check=False, timeout=60
    )
    assert copied.returncode != 0
    assert on_host(gated.lab, WORKER, f"ls -A /home/{USER}") == ""


def test_the_lists_name_the_same_commands() -> None:
    gate, sudoers = ((ON_HOSTS / name).read_text() for name in ("reconciler-gate", "sudoers"))
    listed = [line.partition("^-s ")[2].rstrip(", \\") for line in sudoers.splitlines() if "/bin/sh ^-s " in line]
    named = zip(("PUT", "GET", "FORWARD"), listed, strict=True)
    assert [f"{name}='{one}'" in gate for name, one in named] == [True] * 3
    assert f"    {' '.join(SHELL)}, \\\n" in sudoers
    assert f"'{' '.join(ALLOWED)}')" in gate
    assert BEGIN.rstrip("\n") in gate
    for script in (PUT, GET, FORWARD):
        assert sha256(script.encode()).hexdigest() in gate
    assert PUT.endswith(BEGIN)
    assert os.access(ON_HOSTS / "reconciler-gate", os.X_OK)
