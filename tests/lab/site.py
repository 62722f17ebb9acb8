"""Runs the installed command line against a lab, as a person would, and reaches the guests."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from reconciler import lab as labs
from reconciler.lab.folder import locate

EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "topologies"
PROGRAM: Final = Path(sys.executable).with_name("reconciler")
_WITHIN: Final = 120.0  # seconds; any command takes a few


@dataclass(frozen=True)
class Done:
    """The exit code of a command, and what it wrote to each stream."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """Both streams, to be shown when something is not as it must be."""
        return f"exit {self.code}\n{self.out}{self.err}"


@dataclass(frozen=True)
class Running:
    """A running command; its standard error is read line by line, its standard output goes to a file."""

    process: subprocess.Popen[str]
    out: Path
    heard: list[str]

    def wait_for_lines(self, count: int, *marks: str) -> None:
        """Read standard error until so many lines contain all marks; fail if the command ends before."""
        assert self.process.stderr is not None
        while count > 0:
            line = self.process.stderr.readline()
            assert line, f"it ended too early:\n{self.out.read_text()}{''.join(self.heard)}"
            self.heard.append(line)
            count -= all(mark in line for mark in marks)

    def wait_for_output(self, mark: str) -> None:
        """Wait until standard output holds a text."""
        wait_until(lambda: mark in self.out.read_text(), f"{mark!r} to be printed")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command alone."""
        self.process.send_signal(number)

    def finish(self) -> Done:
        """Read the rest, and wait for the end."""
        _, rest = self.process.communicate(timeout=_WITHIN)
        return Done(self.process.returncode, self.out.read_text(), "".join(self.heard) + rest)


@dataclass(frozen=True)
class Vm:
    """A VM of a slice as `show --json` reports it, and its guest."""

    lab: labs.LabInfo
    data: dict[str, Any]
    boots: bool

    @property
    def worker(self) -> str:
        """The worker it runs on."""
        return str(self.data["worker"])

    @property
    def guest(self) -> labs.Guest:
        """Its guest, reached over the serial port."""
        assert self.boots, "guests boot only for tests with the mark `guests`"
        return labs.guest_of(self.lab.name, self.worker, self.data["id"])

    @property
    def nics(self) -> dict[str, dict[str, Any]]:
        """Its NICs by name."""
        return {nic["name"]: nic for nic in self.data["nics"]}

    @property
    def pid(self) -> int:
        """The process id of its QEMU, as its worker numbers it."""
        return int(on_host(self.lab, self.worker, f"cat /var/lib/reconciler/vms/{self.data['id']}/qemu.pid"))

    def ip(self, interface: str) -> str:
        """Return the address that is reserved for a NIC."""
        found = self.nics[interface]["ip"]
        assert found is not None, f"no address is reserved for {self.data['name']}:{interface}"
        return str(found)

    def run(self, command: str) -> str:
        """Run a command in the guest, once it has booted."""
        self.guest.wait_for_shell()
        return self.guest.run(command)

    def settle(self) -> None:
        """Wait until the guest has booted and has every address that is reserved for it."""
        self.guest.wait_for_shell()
        for name, nic in self.nics.items():
            if nic["ip"] is not None:
                assert self.guest.address(name) == nic["ip"]

    def pings(self, address: str, options: str = "") -> bool:
        """Return whether one of three pings is answered."""
        return "yes" in self.guest.run(
            f"ping -c 3 -i 0.3 -W 1 {options} {address} > /dev/null && echo yes", check=False
        )

    def pings_in_vain(self, *addresses: str, options: str = "") -> bool:
        """Ping addresses all at once; return whether none answers within a second."""
        pings = (f"ping -q -c 1 -W 1 {options} {address} | grep ' 1 packets received' &" for address in addresses)
        return not self.guest.run(f"{' '.join(pings)} wait", check=False)

    def pings_within(self, seconds: float, address: str) -> bool:
        """Ping until there is an answer: neighbours and leases of a new link take some time."""
        deadline = time.monotonic() + seconds
        while not self.pings(address):
            if time.monotonic() > deadline:
                return False
        return True

    def downloads(self, url: str) -> bool:
        """Tell whether the lab's page is fetched; wget's own time limit crashes in busybox."""
        return "reached" in self.guest.run(f"timeout 4 wget -q -O - {url}", check=False)

    def downloads_in_vain(self, *urls: str) -> bool:
        """Fetch pages all at once; return whether none comes within two seconds."""
        fetches = (f"timeout 2 wget -q -O - {url} 2> /dev/null &" for url in urls)
        return "reached" not in self.guest.run(f"{' '.join(fetches)} wait", check=False)

    def echoes(self) -> int:
        """Return how many echo requests have reached the guest's kernel, from any sender."""
        names, values = self.guest.run("grep ^Icmp: /proc/net/snmp").splitlines()
        return int(values.split()[names.split().index("InEchos")])


@dataclass(frozen=True)
class Site:
    """A lab, and a folder with slice files and the state; `guests` says whether the images of the cluster boot."""

    lab: labs.LabInfo
    folder: Path
    cluster: Path
    guests: bool = field(default=True, kw_only=True)

    @property
    def state(self) -> Path:
        """The file of the state."""
        return self.folder / "state.db"

    def start(self, *arguments: str | Path) -> Running:
        """Start a command; global options are filled in."""
        out = self.folder / f"out-{time.monotonic_ns()}"
        with out.open("w") as stream:
            process = subprocess.Popen(
                [PROGRAM, *map(str, arguments)],
                env=os.environ | {"RECONCILER_CLUSTER": str(self.cluster), "RECONCILER_STATE": str(self.state)},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.PIPE,
                text=True,
            )
        return Running(process, out, [])

    def run(self, *arguments: str | Path) -> Done:
        """Run a command to its end."""
        return self.start(*arguments).finish()

    def do(self, *arguments: str | Path) -> Done:
        """Run a command that must succeed."""
        done = self.run(*arguments)
        assert done.code == 0, done.told
        return done

    def apply(self, *paths: Path) -> Done:
        """Apply files, which must succeed."""
        return self.do("apply", "--auto-approve", *paths)

    def destroy(self, *slices: str) -> Done:
        """Destroy slices, which must succeed."""
        return self.do("destroy", "--auto-approve", *slices)

    def write(self, text: str) -> Path:
        """Write a slice file named after its slice, over an earlier one."""
        name = next(line.split()[1] for line in text.splitlines() if line.startswith("name:"))
        path = self.folder / f"{name}.yaml"
        path.write_text(text)
        return path

    def show(self, name: str) -> dict[str, Any]:
        """Return what `show --json` prints of a slice."""
        shown: dict[str, Any] = json.loads(self.do("show", name, "--json").out)
        return shown

    def vms(self, name: str) -> dict[str, Vm]:
        """Return the VMs of a slice by name."""
        return {vm["name"]: Vm(self.lab, vm, self.guests) for vm in self.show(name)["vms"]}

    def slices(self) -> list[str]:
        """Return the names of all slices in the state."""
        return [one["slice"] for one in json.loads(self.do("status", "--json").out)]

    def in_sync(self, *paths: Path) -> None:
        """Check that there is nothing to do, by the state and by the hosts."""
        planned = self.run("plan", "--detailed-exitcode", *paths)
        assert planned.code == 0, planned.told
        assert "No changes." in planned.out
        self.do("drift")


def on_host(lab: labs.LabInfo, host: str, script: str) -> str:
    """Run a shell script on a host, which must succeed, and return what it printed."""
    done = labs.run_in(lab.name, host, ["sh", "-euc", script])
    assert done.returncode == 0, f"{host}: {script}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


@contextmanager
def held_up(lab: labs.LabInfo, host: str) -> Iterator[None]:
    """Hold a host's operation lock, as a batch of an earlier apply does while it runs: new batches wait."""
    path = locate(lab.name).disk(host) / "reconciler" / "lock"
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def wait_until(holds: Callable[[], bool], what: str, within: float = _WITHIN) -> None:
    """Check a condition until it holds; fail after so many seconds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"waited {within:g} s for {what}"
        time.sleep(0.05)
