"""On hosts: the commands that `show` prints reach the screen and the serial port of a VM, also through the gate."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.site import Site, on_host, wait_until
from tests.lab.test_security import Login, behind, gated

pytestmark = [pytest.mark.lab, pytest.mark.guests]

SLICE = "version: 1\nname: seen\nowner: admin\nvms: {web: {flavor: cirros, worker: worker1}}\n"
__all__ = ["gated"]


@contextmanager
def typed(command: str) -> Iterator[int]:
    """Run a command as a person at a terminal does, and give the terminal; Ctrl-C ends it, and leaves nothing."""
    ours, theirs = pty.openpty()
    # Where the tests run in the background, they ignore Ctrl-C, and so would the command.
    argv = ["setsid", "--ctty", "env", "--default-signal=INT", "sh", "-c", command]
    shell = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        yield ours
        os.write(ours, b"\x03")
        shell.wait(timeout=20)
    finally:
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait(timeout=20)
        os.close(ours)


def read_until(terminal: int, mark: str, *, pressing: bytes = b"", within: float = 60.0) -> str:
    """Read a terminal until a text appears, and press keys meanwhile."""
    seen, deadline = "", time.monotonic() + within
    while mark not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([terminal], [], [], 1.0)[0]:
            seen += os.read(terminal, 4096).decode(errors="replace")
        elif pressing:
            os.write(terminal, pressing)
    return seen


def greeting(port: int) -> bytes:
    """Connect to a forwarded port once it is there, and read the first line of a VNC server."""
    wait_until(lambda: _connects(port), "the forwarded port")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as viewer:
        return viewer.recv(12)


def _connects(port: int) -> bool:
    with socket.socket() as knocking:
        return knocking.connect_ex(("127.0.0.1", port)) == 0


def commands(site: Site) -> tuple[str, str]:
    """Return what `show` prints for people, which must be what its JSON has."""
    (vm,) = site.show("seen")["vms"]
    notes = site.do("show", "seen").err
    vnc, serial = vm["consoles"]["vnc"], vm["consoles"]["serial"]
    assert f"  web: {vnc}\n" in notes
    assert f"  web: {serial}\n" in notes
    return vnc, serial


def check(site: Site) -> None:
    vnc, serial = commands(site)
    with typed(vnc) as terminal:
        assert terminal
        assert greeting(int(vnc.partition("-L ")[2].partition(":")[0])) == b"RFB 003.008\n"
    with typed(serial) as terminal:
        read_until(terminal, "reconciler: ready")
        read_until(terminal, "# ", pressing=b"\n")
        os.write(terminal, b"echo by-$((6*7))-hand\n")
        read_until(terminal, "by-42-hand")
    forwards = "ps -e -o comm= | grep -c perl || :"
    wait_until(lambda: on_host(site.lab, "worker1", forwards) == "0", "the end of what forwarded there")


def test_the_commands_of_show_reach_the_screen_and_the_serial_port(site: Site) -> None:
    site.apply(site.write(SLICE))
    site.vms("seen")["web"].guest.wait_for_shell()
    check(site)


def test_they_do_through_the_gate(gated: Login, site: Site, tmp_path: Path) -> None:
    allowed = 'restrict,port-forwarding,permitopen="127.0.0.1:*",command'
    on_host(site.lab, "worker1", f"sed -i 's/^restrict,command/{allowed}/' /run/lab/authorized_keys")
    through = replace(site, cluster=behind(gated, tmp_path))
    through.apply(through.write(SLICE))
    through.vms("seen")["web"].guest.wait_for_shell()
    check(through)
