"""Runs commands in a lab guest through its serial console.

This needs no network, so a guest can report what its network lets through.
"""

from __future__ import annotations

import re
import secrets
import shlex
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.errors import LabError

_BOOT_WITHIN: Final = 90.0  # seconds; 3 on an idle machine, many more when tests boot several at once
_ASK_AGAIN: Final = 1.0  # seconds
_CHUNK: Final = 4096
_INTERRUPT: Final = "\x03"


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest whose serial port is the Unix socket at `serial`; commands run one by one in its root shell."""

    serial: Path

    def run(self, command: str, timeout: float = 30.0, *, check: bool = True) -> str:
        """Run a shell command in the guest and return what it printed, both streams together, without the last newline.

        Raises `LabError` if it takes longer than `timeout` seconds, or if it fails and `check` is true.
        """
        nonce = secrets.token_hex(4)
        # The quotes in the middle of the marks keep the terminal's echo of this line from looking like the marks.
        line = f"echo be''gin-{nonce}; sh -c {shlex.quote(command)} 2>&1; echo e''nd-{nonce}-$?\n"
        reply = re.compile(rf"begin-{nonce}\r\n(.*?)end-{nonce}-(\d+)\r\n".encode(), re.DOTALL)
        received = self._exchange(line, reply, timeout)
        if received is None:
            raise LabError(f"the guest did not finish within {timeout:g} s: {command}")
        printed = received[1].decode(errors="replace").replace("\r\n", "\n").removesuffix("\n")
        if check and received[2] != b"0":
            raise LabError(f"the guest's command exited with {received[2].decode()}: {command}\n{printed}")
        return printed

    def wait_for_shell(self, timeout: float = _BOOT_WITHIN) -> None:
        """Wait until the guest has booted and its shell replies; `LabError` if it does not within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                self.run("true", _ASK_AGAIN)
            except LabError:
                time.sleep(_ASK_AGAIN / 10)
            else:
                return
        raise LabError(f"the guest at {self.serial} did not boot within {timeout:g} s")

    def address(self, interface: str = "eth0", timeout: float = 30.0) -> str:
        """Wait until an interface has an IPv4 address and return it, without the prefix length."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = re.search(r"inet ([0-9.]+)", self.run(f"ip -4 address show dev {interface}", check=False))
            if found is not None:
                return found[1]
            time.sleep(_ASK_AGAIN / 5)
        raise LabError(f"{interface} of the guest at {self.serial} got no address within {timeout:g} s")

    def _exchange(self, line: str, reply: re.Pattern[bytes], timeout: float) -> re.Match[bytes] | None:
        deadline = time.monotonic() + timeout
        received = b""
        with socket.socket(socket.AF_UNIX) as serial:
            try:
                serial.connect(str(self.serial))
            except OSError as error:
                raise LabError(f"no guest at {self.serial}: {error.strerror}") from error
            serial.sendall(line.encode())
            while (remaining := deadline - time.monotonic()) > 0:
                serial.settimeout(remaining)
                try:
                    piece = serial.recv(_CHUNK)
                except TimeoutError:
                    break
                if not piece:
                    break
                received += piece
                if (match := reply.search(received)) is not None:
                    return match
            serial.sendall(_INTERRUPT.encode())
        return None
