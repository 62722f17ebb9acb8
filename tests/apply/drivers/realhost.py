"""A throw-away host for driver tests: namespaces, an Open vSwitch and directories of its own, all gone when it ends.

It runs what drivers return the way a host does: argv as root, both streams as one, in a root whose /run/openvswitch,
/run/netns and /var/lib/reconciler are private. Nothing of it is seen outside, and no packet leaves it.
"""

from __future__ import annotations

import hashlib
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.apply.drivers.driver import Driver
from reconciler.apply.transport.batch import escape_controls
from reconciler.apply.transport.command import Command, Operation, PrivateUpload, Result, Upload
from reconciler.plan.resources import Resource

_BOOT = """
mount --make-rprivate /
mount -t sysfs sysfs /sys
mkdir -p /run/openvswitch /run/netns /etc/openvswitch /var/lib/reconciler
for pair in run:/run/openvswitch netns:/run/netns etc:/etc/openvswitch lib:/var/lib/reconciler; do
    mkdir "$1/${pair%%:*}"
    chmod 755 "$1/${pair%%:*}"
    mount --bind "$1/${pair%%:*}" "${pair#*:}"
done
mount --bind "$1/netns" "$1/netns"
ip link set lo up
ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
quiet='-vconsole:off -vsyslog:off'
ovsdb-server $quiet --remote=punix:/run/openvswitch/db.sock --pidfile --detach --log-file=/dev/null
ovs-vsctl --no-wait init
ovs-vswitchd $quiet --pidfile --detach --log-file=/run/openvswitch/log
ovs-vsctl add-br br-int -- set bridge br-int datapath_type=netdev
ip link add ens4 type veth peer name far4
ip link add ens5 type veth peer name far5
for interface in ens4 far4 ens5 far5; do ip link set "$interface" up; done
ip address add 203.0.113.2/24 dev ens5
ovs-vsctl add-port br-int ens4 trunks=4094
touch "$1/ready"
exec sleep infinity
"""


@dataclass(frozen=True, slots=True)
class RealHost:
    """A running host: `pid` is its PID 1 as the machine numbers it; `uploads` holds what an Upload may ask for."""

    pid: int
    folder: Path
    uploads: Path

    def argv(self, command: Sequence[str]) -> list[str]:
        """Return the words that run a command inside the host."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--uts", "--", *command]

    def run(self, command: Command) -> Result:
        """Run a command and return how it ended."""
        done = subprocess.run(
            self.argv(command.argv),
            input=command.stdin,
            stdin=subprocess.DEVNULL if command.stdin is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=60,
        )
        return Result(done.returncode, escape_controls(done.stdout))

    def sh(self, text: str) -> str:
        """Run a shell text that must succeed, and return what it prints."""
        result = self.run(Command(("sh", "-ceu", text)))
        assert result.status == 0, f"{text}\n{result.output}"
        return result.output

    def perform(self, operations: Sequence[Operation]) -> None:
        """Do what a driver asks for, in order; every command must succeed."""
        for operation in operations:
            match operation:
                case Command():
                    result = self.run(operation)
                    assert result.status in operation.ok, f"{operation}\n{result.output}"
                case Upload(path, digest):
                    self._put(path, digest)
                case PrivateUpload(path, address):
                    put = 'umask 077; mkdir -p -- "${1%/*}"; cat > "$1"'
                    self.run(Command(("sh", "-ceu", put, "put", path), f"made for {address}"))

    def probe(self, driver: Driver[Any, Any], resources: Sequence[Resource]) -> Mapping[Any, Any]:
        """Probe resources and return their facts."""
        return driver.parse(resources, [self.run(command) for command in driver.probe(resources)])

    def _put(self, path: str, digest: str) -> None:
        sources = [one for one in self.uploads.iterdir() if hashlib.sha256(one.read_bytes()).hexdigest() == digest]
        self.sh(f"cp {shlex.quote(str(sources[0]))} {shlex.quote(path)}")


@contextmanager
def real_host() -> Iterator[RealHost]:
    """Start a host and end it with all that runs in it."""
    with tempfile.TemporaryDirectory(prefix="realhost-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "uploads").mkdir()
        argv = ["unshare", "--mount", "--net", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc", "--"]
        argv += ["tini", "--", "sh", "-eu", "-c", _BOOT, "boot", name]
        log = folder / "log"
        with log.open("wb") as output:
            outer = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 20
            while not (folder / "ready").exists():
                assert outer.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.01)
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
            yield RealHost(int(children[0]), folder, folder / "uploads")
        finally:
            outer.send_signal(signal.SIGKILL)
            outer.wait(timeout=20)
