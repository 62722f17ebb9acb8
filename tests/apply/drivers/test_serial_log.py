"""What a guest writes to its serial port takes a bounded part of its worker's disk, and nothing waits for its log."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.apply.drivers import vm as driver
from reconciler.apply.drivers.driver import SurveyTarget
from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.drivers.serial_log import LOGGER
from reconciler.apply.drivers.vm import VmFact
from reconciler.apply.transport.command import Command
from reconciler.plan.resources import ROOT, Vm
from reconciler.spec.models.names import Bytes
from tests.apply.drivers.capture import QMP_STOP
from tests.apply.drivers.realhost import RealHost, real_host
from tests.apply.drivers.sample import BASE, DISK, IMAGE, PORTS, VM

LIMIT = Bytes(64 * 2**10)
CHATTY = replace(VM, serial_log=LIMIT)
LOG = f"{VM.directory}/serial.log"
FILES = "ls " + VM.directory

# A boot sector that counts on the serial port without end: lines of eight letters, a to p for the digits 0 to 15.
_COUNTS = bytes.fromhex(
    "ba f8 03"  # mov dx, 0x3f8
    "66 31 db"  # xor ebx, ebx
    "b9 08 00"  # line: mov cx, 8
    "66 c1 c3 04"  # digit: rol ebx, 4
    "88 d8 24 0f 04 61 ee"  # mov al, bl; and al, 15; add al, 'a'; out dx, al
    "e2 f3"  # loop digit
    "b0 0a ee"  # mov al, 10; out dx, al
    "66 43"  # inc ebx
    "eb e9"  # jmp line
)
BOOT_SECTOR = _COUNTS.ljust(510, b"\0") + b"\x55\xaa"
LINE = 9


@pytest.fixture
def host() -> Iterator[RealHost]:
    with real_host() as one:
        (one.uploads / "base").write_bytes(BASE)
        for resource in (IMAGE, DISK, *PORTS):
            fact = one.probe(DRIVERS[resource.kind], [resource])[resource.address]
            one.perform(DRIVERS[resource.kind].ensure(resource, fact, None))
        (one.folder / "boot").write_bytes(BOOT_SECTOR)
        one.sh(f"qemu-io -f qcow2 -c 'write -s {one.folder}/boot 0 512' {DISK.path}")
        yield one


def ensure(host: RealHost, vm: Vm = CHATTY) -> None:
    host.perform(driver.ensure(vm, fact_of(host), vm))


def remove(host: RealHost) -> None:
    host.perform(driver.remove(CHATTY, fact_of(host)))


def fact_of(host: RealHost) -> VmFact:
    fact = host.probe(driver.DRIVER, [CHATTY])[CHATTY.address]
    assert isinstance(fact, VmFact)
    return fact


def sizes(host: RealHost) -> list[int]:
    """Return the sizes of both parts of the log, as far as they exist."""
    return [int(size) for size in host.sh(f"stat -c %s {LOG} {LOG}.1 2> /dev/null || :").split()]


def last(host: RealHost) -> int:
    """Return the last number in the log. A part that was just begun has none."""
    lines = host.sh(f"cat {LOG}.1 {LOG} 2> /dev/null | tail -c {3 * LINE}").split("\n")
    return number(lines[-2]) if len(lines) > 2 else -1


def number(line: str) -> int:
    return int(line.translate(str.maketrans("abcdefghijklmnop", "0123456789abcdef")), 16)


def loggers(host: RealHost) -> list[str]:
    """Return the processes that write a log, and still run."""
    return host.sh("ps -eo pid=,stat=,args= | awk '$2 !~ /Z/ && /serial-log/ && !/awk/ {print $1}'").split()


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.lab
def test_a_guest_that_writes_without_end_fills_no_disk(host: RealHost) -> None:
    ensure(host)
    for goal in (10_000, 20_000, 40_000):
        while last(host) < goal:
            assert all(size <= LIMIT // 2 for size in sizes(host))
    host.sh(f"{QMP_STOP} {VM.directory}/qmp.sock")
    written = host.sh(f"sleep 0.2; cat {LOG}.1 {LOG}")
    assert LIMIT // 2 <= len(written) <= LIMIT
    numbers = [number(line) for line in written.split("\n")[1:-1]]
    assert numbers == [*range(numbers[0], numbers[-1] + 1)], "nothing is lost between the parts, and the newest is last"
    assert numbers[-1] >= 40_000
    ensure(host)
    assert within(20, lambda: last(host) > numbers[-1] + 10_000), "a guest that goes on is written further"

    remove(host)
    assert loggers(host) == []
    assert host.sh(FILES).split() == ["web_img.qcow2", "web_img.qcow2.owner"]


@pytest.mark.lab
def test_a_guest_goes_on_without_its_logger_and_gets_one_when_it_starts_again(host: RealHost) -> None:
    ensure(host)
    assert within(20, lambda: last(host) > 1_000)
    (logger,) = loggers(host)
    powers = host.sh(f"grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/{logger}/status").split()
    assert powers == ["CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]
    host.sh(f"kill -KILL {logger}")
    assert within(5, lambda: loggers(host) == [])
    stopped = last(host)
    time.sleep(0.5)
    assert last(host) == stopped
    fact = fact_of(host)
    assert (fact.whole, fact.run_state) == (True, "running")
    assert driver.ensure(CHATTY, fact, CHATTY) == ()

    host.sh(f"kill -KILL {fact.processes[0].pid}; sleep 0.3")
    ensure(host)
    assert len(loggers(host)) == 1
    assert within(20, lambda: last(host) > 0), "a start begins a new log"


@pytest.mark.lab
def test_a_log_without_bounds_of_an_earlier_version_is_deleted_at_the_next_start(host: RealHost) -> None:
    host.sh(f"truncate -s 1G {LOG}; echo older > {LOG}.1")
    ensure(host)
    assert within(20, lambda: last(host) > 1_000)
    assert sum(sizes(host)) <= LIMIT
    assert "older" not in host.sh(f"cat {LOG}.1 {LOG} 2> /dev/null || :")


@pytest.mark.lab
def test_a_vm_that_cannot_start_leaves_no_logger(host: RealHost) -> None:
    began = time.monotonic()
    (start,) = driver.ensure(replace(CHATTY, disk=f"{VM.directory}/absent.qcow2"), fact_of(host), None)
    assert isinstance(start, Command)
    result = host.run(start)
    assert result.status == 1
    assert "absent.qcow2': No such file or directory" in result.output
    assert time.monotonic() - began < 20
    assert within(5, lambda: loggers(host) == [])
    assert not re.search("pipe|errors", host.sh(FILES))


@pytest.mark.lab
@pytest.mark.parametrize("again", [False, True])
def test_the_logger_of_an_ended_process_is_waited_for(host: RealHost, again: bool) -> None:
    ensure(host)
    assert within(20, lambda: last(host) > 1_000)
    (logger,) = loggers(host)
    host.sh(f"kill -STOP {logger}; kill -KILL $(cat {VM.directory}/qemu.pid); sleep 0.3")
    host.sh(f"(sleep 1; kill -CONT {logger}) > /dev/null 2>&1 &")
    began = time.monotonic()
    (ensure if again else remove)(host)
    assert time.monotonic() - began > 0.5
    assert logger not in loggers(host)
    assert ("serial.log" in host.sh(FILES)) is again


@pytest.mark.lab
@pytest.mark.parametrize("name", ["serial.pipe", "serial.log", "serial.log.1"])
def test_each_file_of_a_log_is_found_and_removed(host: RealHost, name: str) -> None:
    host.sh(f"touch {VM.directory}/{name}")
    survey = driver.SURVEY
    (found,) = survey.parse(SurveyTarget(VM.host, "br-int"), [host.run(command) for command in survey.commands])
    assert found.resource.address == VM.address
    assert fact_of(host) == VmFact((), left=True)
    remove(host)
    assert name not in host.sh(FILES).split()


@pytest.mark.lab
def test_a_full_disk_does_not_stop_the_logger(host: RealHost) -> None:
    small, said = f"{ROOT}/small", host.folder / "said"
    said.write_bytes(b"x" * 2**20)
    host.sh(f"mkdir {small}; mount -t tmpfs -o size=128k tmpfs {small}")
    done = host.run(Command(("sh", "-c", 'perl -e "$1" -- "$2" 1048576 < "$3"', "log", LOGGER, small, str(said))))
    assert (done.status, done.output) == (0, "")
    assert host.sh(f"stat -c %s {small}/serial.log").strip() == "131072"


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 20, 21, 30, 100_001])
@pytest.mark.parametrize("limit", [20, 21])
def test_the_end_of_what_was_said_is_kept(tmp_path: Path, size: int, limit: int) -> None:
    said = bytes(at % 251 for at in range(size))
    for name in ("serial.log", "serial.log.1"):
        (tmp_path / name).write_bytes(b"")
    subprocess.run(["perl", "-e", LOGGER, "--", tmp_path, str(limit)], input=said, check=True, timeout=20)
    kept = (tmp_path / "serial.log.1").read_bytes() + (tmp_path / "serial.log").read_bytes()
    assert said.endswith(kept)
    assert min(size, limit // 2) <= len(kept) <= limit
