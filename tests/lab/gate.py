"""A gate on a host: a program that starts there waits until it is let in, so that a batch stops in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from reconciler import lab as labs
from tests.lab.site import on_host, wait_until

_PROGRAM: Final = "/usr/bin/qemu-img"  # begins the making of an overlay, and nothing else does
_FOLDER: Final = "/run/lab/gate"
_SCRIPT: Final = f"""\
#!/bin/sh
n=1
until mkdir {_FOLDER}/caller.$n 2>/dev/null; do n=$((n + 1)); done
until [ -e {_FOLDER}/open.$n ] || [ -e {_FOLDER}/open ]; do sleep 0.05; done
exec {_FOLDER}/program "$@"
"""


@dataclass(frozen=True)
class Gate:
    """A gate that is in place."""

    lab: labs.LabInfo
    host: str

    @property
    def callers(self) -> int:
        """How many programs have started so far."""
        return int(on_host(self.lab, self.host, f"ls {_FOLDER} | grep -c caller || :"))

    def wait_for_callers(self, count: int) -> None:
        """Wait until so many programs have started."""
        wait_until(lambda: self.callers >= count, f"{count} to start at the gate of {self.host}")

    def let_in(self, caller: int) -> None:
        """Let one program in, by its number from 1."""
        on_host(self.lab, self.host, f"touch {_FOLDER}/open.{caller}")

    def open(self) -> None:
        """Let every program in, now and later."""
        on_host(self.lab, self.host, f"touch {_FOLDER}/open")


def put_gate(lab: labs.LabInfo, host: str) -> Gate:
    """Put a gate before the creation of overlays on a host, for as long as the host runs."""
    make = f"mkdir {_FOLDER}; cp {_PROGRAM} {_FOLDER}/program; cat > {_FOLDER}/script <<'END'\n{_SCRIPT}END\n"
    on_host(lab, host, make + f"chmod 755 {_FOLDER}/script; mount --bind {_FOLDER}/script {_PROGRAM}")
    return Gate(lab, host)


@contextmanager
def gate(lab: labs.LabInfo, host: str) -> Iterator[Gate]:
    """Put a gate before the creation of overlays on a host; at the end every program is let in."""
    made = put_gate(lab, host)
    try:
        yield made
    finally:
        made.open()
        wait_until(lambda: on_host(lab, host, "pgrep -f '[/]run/lab/gate/' || :") == "", "the last to leave the gate")
        on_host(lab, host, f"umount -l {_PROGRAM}; rm -r {_FOLDER}")
