"""The database server dies in the middle of an apply: one error says so, and the next apply completes it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.contracts.postgres import data_folder, empty_schema, server
from tests.lab.census import census, settled
from tests.lab.site import EXAMPLES, Site, held_up, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.postgres]

FILE = EXAMPLES / "two-vms.yaml"


@pytest.mark.usefixtures("postgres_allowed")
def test_postgres_killed_in_the_middle_of_an_apply(site: Site) -> None:
    site.apply(FILE)
    undisturbed = census(site.lab)
    site.destroy("two-vms")

    with data_folder() as folder:
        with server(folder) as first:
            state = ("--state", empty_schema(first.port))
            with held_up(site.lab, "worker1"):
                running = site.start("apply", "--auto-approve", *state, FILE)
                running.wait_for_lines(3, ": created in ")
                kill(first.pid)
            failed = running.finish()
        assert failed.code == 1, failed.told
        assert "Traceback" not in failed.told
        errors = [line for line in failed.err.splitlines() if line.startswith("error")]
        assert len(errors) == 1, failed.told
        assert errors[0].startswith("error[state]: the state "), failed.told
        assert failed.err.splitlines()[-1].startswith("hint: check that the database answers"), failed.told

        with server(folder, first.port):
            again = site.do("apply", "--auto-approve", *state, FILE)
            assert "Apply complete" in again.out
            assert settled(site.lab, undisturbed) == []
            assert "No changes." in site.do("plan", *state, FILE).out
            site.do("destroy", "--auto-approve", *state, "two-vms")


def kill(postmaster: int) -> None:
    """Kill the server with all its processes, none of which gets to end in order."""
    family = [postmaster, *map(int, Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split())]
    for pid in family:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in family[1:]), "the server to be gone", within=20)


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
