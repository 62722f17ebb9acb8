"""Logins to a lab's hosts outlast changes on the machine; broken ones are noticed, and repaired while guests run."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler import lab as labs
from reconciler.errors import LabError
from reconciler.lab import process
from reconciler.lab.cluster_files import USER
from reconciler.lab.folder import locate
from tests.lab.site import Site, on_host

pytestmark = pytest.mark.lab

_ACCOUNTS = ("passwd", "group", "shadow", "hosts", "sudoers")
_SLICE = "version: 1\nname: kept\nowner: admin\ndefaults: {flavor: cirros}\nvms: {web: {internet: true}}\n"
_EARLIER = """
mkdir /run/lab/etc /run/lab/switch
mount --bind /etc/openvswitch /run/lab/switch
cd /etc
cp -a passwd group shadow hosts sudoers sudoers.d /run/lab/etc
mount --rbind /etc.machine /etc
for file in passwd group shadow hosts sudoers sudoers.d; do mount --bind "/run/lab/etc/$file" "/etc/$file"; done
mount --bind /run/lab/switch /etc/openvswitch
"""


def _replace(path: Path) -> None:
    """Replace a file of the machine by an equal one, as packages do; the lock keeps other programs from writing it."""
    new = path.with_name(f"{path.name}.reconciler-test")
    with Path("/etc/.pwd.lock").open("a") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        try:
            subprocess.run(["cp", "--archive", path, new], check=True)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)


def _replaceable() -> list[Path]:
    """Name the files of accounts that a package could replace here: in a container, some may be mounts."""
    return [path for name in _ACCOUNTS if (path := Path("/etc", name)).exists() and not path.is_mount()]


def _make_like_an_earlier_version(lab: labs.LabInfo, host: str) -> None:
    """Give a host the machine's /etc with mounts on the files of accounts, so that a replaced file loses its mount."""
    on_host(lab, host, _EARLIER)


def _acceptors(lab: labs.LabInfo) -> list[int]:
    return [one.pid for one in process.find(locate(lab.name)) if one.program.startswith("python")]


def _session(lab: labs.LabInfo, host: str) -> subprocess.Popen[str]:
    """Log in to a host and repeat what is written; its first line has come back."""
    folder = locate(lab.name)
    port = next(one.port for one in labs.status(lab.name).hosts if one.name == host)
    login = ["ssh", "-F", "none", "-i", str(folder.client_key), f"-oUserKnownHostsFile={folder.known_hosts}"]
    argv = [*login, f"-p{port}", f"{USER}@127.0.0.1", "cat"]
    session = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert session.stdin is not None
    assert session.stdout is not None
    session.stdin.write("here\n")
    session.stdin.flush()
    assert session.stdout.readline() == "here\n"
    return session


def _kept(lab: labs.LabInfo, host: str) -> str:
    """Describe what a repair must not touch: the host, its switch and its guests, with their process ids."""
    return on_host(lab, host, "ps -o pid=,args= -C tini,ovsdb-server,ovs-vswitchd,qemu-system-x86,qemu-system-x86_64")


def test_files_that_a_package_replaces_on_the_machine_do_not_matter(own_lab: Callable[..., labs.LabInfo]) -> None:
    lab = own_lab(1)
    before = on_host(lab, "worker1", "cat /etc/passwd")
    replaced = _replaceable()
    assert Path("/etc/passwd") in replaced
    for path in replaced:
        _replace(path)
    assert labs.status(lab.name, try_logins=True).up
    assert on_host(lab, "worker1", "cat /etc/passwd") == before


def test_all_of_etc_is_there(own_lab: Callable[..., labs.LabInfo]) -> None:
    lab = own_lab(1)
    assert {path.name for path in Path("/etc").iterdir()} <= set(on_host(lab, "worker1", "ls -A /etc").splitlines())
    assert on_host(lab, "worker1", "cat /etc/os-release") == Path("/etc/os-release").read_text().strip()


def test_a_failed_login_is_reported_and_repaired_while_guests_run(own_site: Callable[..., Site]) -> None:
    site = own_site(1)
    name, file = site.lab.name, site.write(_SLICE)
    site.apply(file)
    kept = {host: _kept(site.lab, host) for host in ("worker1", "gateway")}
    assert "qemu" in kept["worker1"]
    assert site.do("lab", "status", "--name", name).out.count(" yes   yes ") == 2

    _make_like_an_earlier_version(site.lab, "worker1")
    assert labs.status(name, try_logins=True).up
    _replace(Path("/etc/passwd"))
    told = site.run("lab", "status", "--name", name)
    remedy = f"reconciler lab up --name {name} --workers 1"
    assert told.code == 1, told.told
    assert "worker1: login failed: reconciler@127.0.0.1: Permission denied (publickey).\n" in told.out
    assert "gateway: login failed" not in told.out
    assert f"hint: run `{remedy}`; hosts that are up keep running, with their guests\n" in told.out
    document = site.run("lab", "status", "--name", name, "--json")
    found = json.loads(document.out)
    assert (document.code, found["up"], found["remedy"]) == (1, False, remedy)
    assert [(host["host"], host["up"], host["login_error"]) for host in found["hosts"]] == [
        ("worker1", True, "reconciler@127.0.0.1: Permission denied (publickey)."),
        ("gateway", True, None),
    ]

    assert "repairing logins to worker1\n" in site.do(*remedy.split()[1:]).err
    found = json.loads(site.do("lab", "status", "--name", name, "--json").out)
    assert (found["up"], found["remedy"]) == (True, None)
    assert {host: _kept(site.lab, host) for host in kept} == kept
    site.in_sync(file)

    _replace(Path("/etc/passwd"))
    assert not labs.status(name, try_logins=True).up, "a host of an earlier version loses its accounts again"
    site.do(*remedy.split()[1:])
    assert labs.status(name, try_logins=True).up


def test_an_acceptor_that_died_is_started_again(own_lab: Callable[..., labs.LabInfo]) -> None:
    lab = own_lab(1)
    kept = _kept(lab, "worker1")
    session = _session(lab, "worker1")
    process.end(locate(lab.name), "worker1", ("python",))
    errors = {host.name: host.login_error for host in labs.status(lab.name, try_logins=True).hosts}
    assert "Connection refused" in (errors["worker1"] or "")
    assert errors["gateway"] is None
    labs.up(lab.name, 1, report=print)
    assert labs.status(lab.name, try_logins=True).up
    assert _kept(lab, "worker1") == kept
    assert session.communicate("still here\n", timeout=10)[0] == "still here\n"
    labs.pull_plug(lab.name, "worker1")
    assert len(_acceptors(lab)) == 1, "it ends with its host"


def test_hosts_that_do_not_answer_are_waited_for_all_at_once(own_lab: Callable[..., labs.LabInfo]) -> None:
    lab = own_lab(1)
    for pid in _acceptors(lab):
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    found = labs.status(lab.name, try_logins=True)
    assert time.monotonic() - began < 15
    assert [host.login_error for host in found.hosts] == ["no answer within 10 s"] * 2
    labs.up(lab.name, 1, report=print)
    assert labs.status(lab.name, try_logins=True).up


def test_a_login_beyond_repair_is_an_error(own_lab: Callable[..., labs.LabInfo]) -> None:
    lab = own_lab(1)
    on_host(lab, "worker1", "mount --bind /bin/false /usr/sbin/sshd")
    with pytest.raises(
        LabError, match=f"login to worker1 of lab {lab.name} failed and could not be repaired: "
    ) as error:
        labs.up(lab.name, 1, report=print)
    assert error.value.hint == f"remove the lab with `reconciler lab down --name {lab.name}` and create it again"
