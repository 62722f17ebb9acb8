"""Logins as ssh does them: certificates beside keys, keys of an agent, known hosts with a damaged line."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler import lab as labs
from tests.lab.site import Done, Site

pytestmark = pytest.mark.lab


@pytest.fixture
def keys(lab: labs.LabInfo, tmp_path: Path) -> Path:
    """Give a folder with copies of the lab's key, its public half and its known hosts."""
    for name in ("client_key", "client_key.pub", "known_hosts"):
        shutil.copy(lab.cluster_file.with_name(name), tmp_path / name)
    return tmp_path


@pytest.fixture
def agent(keys: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give an agent with seven other keys, more than sshd lets anybody try, and then the lab's."""
    socket = keys / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE, text=True)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    monkeypatch.setenv("HOME", str(keys))
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it listens now
        for number in range(7):
            other = keys / f"other{number}"
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
            subprocess.run(["ssh-add", "-q", other], check=True)
        subprocess.run(["ssh-add", "-q", keys / "client_key"], check=True)
        yield socket
    finally:
        process.terminate()
        process.communicate()


def run(verb: str, lab: labs.LabInfo, folder: Path, **login: Path | None) -> Done:
    """Read the hosts through a cluster file with other settings of `ssh`; None removes one."""
    text = lab.cluster_file.read_text()
    for name, value in login.items():
        text = re.sub(rf"^  {name}: .*\n", "" if value is None else f"  {name}: {value}\n", text, flags=re.MULTILINE)
    cluster = folder / "logins.yaml"
    cluster.write_text(text)
    return Site(lab, folder, cluster).run(verb)


def test_an_expired_certificate_does_not_shut_out_its_key(lab: labs.LabInfo, keys: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / "ca"], check=True)
    signing = ["ssh-keygen", "-q", "-s", str(keys / "ca"), "-I", "x", "-n", "reconciler", "-V", "-2d:-1d"]
    subprocess.run([*signing, str(keys / "client_key.pub")], check=True)
    assert (keys / "client_key-cert.pub").exists()
    done = run("drift", lab, keys, identity_file=keys / "client_key")
    assert done.code == 0, done.told


@pytest.mark.usefixtures("agent")
def test_an_agent_with_too_many_keys_is_a_login_error_at_once(lab: labs.LabInfo, keys: Path) -> None:
    done = run("doctor", lab, keys, identity_file=None)
    assert done.code == 1, done.told
    assert "was rejected: Too many authentication failures" in done.told
    assert "set ssh.identity_file to the .pub file of the right one" in done.told


@pytest.mark.usefixtures("agent")
def test_a_public_key_picks_that_key_of_the_agent(lab: labs.LabInfo, keys: Path) -> None:
    (keys / "client_key").unlink()
    done = run("drift", lab, keys, identity_file=keys / "client_key.pub")
    assert done.code == 0, done.told


def test_a_damaged_line_of_known_hosts_costs_only_its_own_key(lab: labs.LabInfo, keys: Path) -> None:
    with (keys / "known_hosts").open("ab") as file:
        file.write(b"other ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIIhYSEwpxl2K2kUvaLqqZtHJFRZPRUTCq5QSU5FNcxm J\366rg\n")
        file.write(b"third ssh-ed25519 \377\377 nobody\nhalf\n")
    done = run("drift", lab, keys, known_hosts=keys / "known_hosts")
    assert done.code == 0, done.told
