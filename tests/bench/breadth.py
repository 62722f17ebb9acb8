"""Measures many trivial steps on many hosts, as a whole process, and two other tools on the same hosts."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

from reconciler import lab as labs
from reconciler.spec.load import load_cluster
from reconciler.state.sql.store import open_store
from reconciler.trees import DISK
from tests.bench.figures import Figure
from tests.bench.processes import run

_OTHERS: Final = ("pyinfra==3.10.0", "ansible-core==2.19.*")


def many_hosts(lab: labs.LabInfo, folder: Path, steps: int, times: int, *, others: bool = False) -> list[Figure]:
    """Perform so many trivial steps on each host of a lab; with `others`, pyinfra and Ansible do the same."""
    program = [sys.executable, str(Path(__file__).with_name("trivial_process.py")), str(lab.cluster_file), str(steps)]
    states = [_empty_state(folder / f"{number}.db", lab.name) for number in range(times + 1)]
    taken = [run([*program, str(state)]) for state in states][1:]
    ours = median(one.seconds for one in taken)
    note = f"state in SQLite; {median(one.cpu for one in taken):.2f} s of CPU in this process"
    figures = [Figure(f"{len(_ports(lab))} hosts, {steps} trivial steps each", ours, "s", 1.5, note=note)]
    return [*figures, *_others(folder, lab, steps, ours)] if others else figures


def _empty_state(path: Path, cluster: str) -> Path:
    """Create an empty state, as the first command for a cluster does, so that only later commands are measured."""
    open_store(path, cluster=cluster, clock=lambda: datetime.now(UTC)).close()
    return path


def _others(folder: Path, lab: labs.LabInfo, steps: int, ours: float) -> list[Figure]:
    """Install both tools into a folder, and let them run `true` as often on the same hosts, as fast as they can."""
    run([sys.executable, "-m", "venv", str(folder / "venv")])
    programs = folder / "venv" / "bin"
    run([str(programs / "pip"), "install", "--quiet", "--disable-pip-version-check", *_OTHERS])
    pyinfra = run(_pyinfra(folder, lab, steps, programs)).seconds
    ansible = run(_ansible(folder, lab, steps, programs), _ansible_settings(folder, programs)).seconds
    return [
        Figure("  pyinfra, as a multiple of that", pyinfra / ours, "times", 5, at_least=True, note=f"{pyinfra:.1f} s"),
        Figure("  Ansible, as a multiple of that", ansible / ours, "times", 15, at_least=True, note=f"{ansible:.1f} s"),
    ]


def _ports(lab: labs.LabInfo) -> dict[str, int]:
    return {host.name: host.port for host in labs.status(lab.name).hosts}


def _keys(lab: labs.LabInfo) -> tuple[str, str]:
    ssh = load_cluster(DISK, lab.cluster_file).cluster.ssh
    return str(ssh.identity_file), str(ssh.known_hosts)


def _pyinfra(folder: Path, lab: labs.LabInfo, steps: int, programs: Path) -> list[str]:
    key, known = _keys(lab)
    shared = {"ssh_hostname": "127.0.0.1", "ssh_user": "reconciler", "ssh_key": key, "ssh_known_hosts_file": known}
    listed = [(name, shared | {"ssh_port": port}) for name, port in _ports(lab).items()]
    (folder / "inventory.py").write_text(f"hosts = {listed!r}\n")
    (folder / "deploy.py").write_text(
        "from pyinfra.operations import server\n"
        f"for number in range({steps}):\n"
        "    server.shell(name=f'step {number}', commands=['true'])\n"
    )
    return [str(programs / "pyinfra"), "-y", str(folder / "inventory.py"), str(folder / "deploy.py")]


def _ansible(folder: Path, lab: labs.LabInfo, steps: int, programs: Path) -> list[str]:
    key, known = _keys(lab)
    options = f"-o UserKnownHostsFile={known} -o ControlPath={folder}/%p -o ControlMaster=auto -o ControlPersist=3"
    shared = (
        f"ansible_host=127.0.0.1 ansible_user=reconciler ansible_ssh_private_key_file={key} "
        f"ansible_python_interpreter=/usr/bin/python3 ansible_ssh_common_args='{options}'"
    )
    lines = [f"{name} ansible_port={port} {shared}" for name, port in _ports(lab).items()]
    (folder / "hosts.ini").write_text("\n".join(lines) + "\n")
    tasks = "".join("    - ansible.builtin.raw: /bin/true\n" for _ in range(steps))
    (folder / "play.yaml").write_text(f"- hosts: all\n  gather_facts: false\n  tasks:\n{tasks}")
    return [str(programs / "ansible-playbook"), "-i", str(folder / "hosts.ini"), str(folder / "play.yaml")]


def _ansible_settings(folder: Path, programs: Path) -> dict[str, str]:
    return {
        "ANSIBLE_FORKS": "10",
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
    }
