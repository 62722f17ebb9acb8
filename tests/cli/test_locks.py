"""`--lock-timeout` and RECONCILER_LEASE_TTL: two processes on one record, of which one waits, gives up or takes over.

The first stands at the question of its apply, and so holds its locks for as long as a test wants it to.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from reconciler.spec.models.durations import DURATION_FORMS
from reconciler.state.location import default_place
from reconciler.state.sql.store import open_store
from reconciler.state.store import Holder
from tests.cli.running import PROGRAM, Asking, Cli, asking

pytestmark = pytest.mark.slow

QUESTION = "Do this? [y/N]: "
WORDS = r"admin/two-vms is being changed by \w+ on host {host} \(pid {pid}\) since 20[0-9: -]+ UTC, last renewed at "
APPLY = ("apply", "--auto-approve")
REACHED = "there is no key"  # an apply that has come as far as the hosts


@pytest.fixture
def first(project: object) -> Iterator[Asking]:
    """Give an apply that holds its locks."""
    with asking(["apply"], QUESTION) as run:
        yield run


def holder_told(first: Asking, text: str) -> int:
    """Count how often the holder is named."""
    words = WORDS.format(host=re.escape(socket.gethostname()), pid=first.process.pid)
    return len(re.findall(f"^waiting: {words}", text, re.MULTILINE))


@pytest.fixture
def short_leases(folder: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_LEASE_TTL", "1s")


@pytest.mark.parametrize("way", ["option", "variable"])
def test_who_waits_is_told_for_whom_and_gives_up_in_time(
    first: Asking, process: Cli, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "variable":
        monkeypatch.setenv("RECONCILER_LOCK_TIMEOUT", "1.5")
    since = time.monotonic()
    done = process(*APPLY, *(["--lock-timeout", "1.5s"] if way == "option" else []))
    assert time.monotonic() - since > 1.5
    assert (done.code, done.out) == (1, "")
    assert holder_told(first, done.err) == 1
    assert done.err.count("error[state-locked]: admin/two-vms is being changed by ") == 1
    assert "\nhint: --lock-timeout 2m waits for it, and takes over if" in done.err


def test_without_waiting_it_is_refused_at_once(first: Asking, process: Cli) -> None:
    done = process(*APPLY)
    assert (done.code, holder_told(first, done.err)) == (1, 0)
    assert f"(pid {first.process.pid})" in done.err


def test_who_waits_goes_on_once_the_first_is_done(first: Asking) -> None:
    second = subprocess.Popen([PROGRAM, *APPLY, "--lock-timeout", "1m"], stderr=subprocess.PIPE, text=True)
    assert second.stderr is not None
    assert holder_told(first, second.stderr.readline()) == 1
    assert first.answer(b"n\n").out.endswith("Nothing was changed.\n")
    _, err = second.communicate(timeout=30)
    assert "state-locked" not in err
    assert REACHED in err, "it came as far as the hosts, where nobody lets it in"


@pytest.mark.usefixtures("short_leases")
def test_a_holder_without_a_sign_of_life_is_taken_over_from(first: Asking, process: Cli) -> None:
    os.kill(first.process.pid, signal.SIGSTOP)
    since = time.monotonic()
    done = process(*APPLY, "--lock-timeout", "1m")
    assert 1 < time.monotonic() - since < 30
    assert holder_told(first, done.err) == 1
    assert "state-locked" not in done.err
    os.kill(first.process.pid, signal.SIGCONT)
    late = first.answer(b"y\n")
    assert late.code == 1
    assert "error[state-lost]: admin/two-vms was taken over by " in late.out


def test_a_holder_that_was_killed_is_not_waited_for(first: Asking, process: Cli) -> None:
    first.process.kill()
    first.process.wait()
    done = process(*APPLY)
    assert "state-locked" not in done.err
    assert REACHED in done.err


@pytest.mark.usefixtures("project", "short_leases")
def test_the_lease_of_another_machine_s_dead_holder_runs_out(process: Cli) -> None:
    store = open_store(default_place("campus"), cluster="campus", clock=lambda: datetime.now(UTC))
    try:
        with store.lock(["admin/two-vms"], Holder("bert", "elsewhere", 7)):
            refused = process(*APPLY)
            assert (
                "error[state-locked]: admin/two-vms is being changed by bert on host elsewhere (pid 7)" in refused.err
            )
            done = process(*APPLY, "--lock-timeout", "1m")
            assert "waiting: admin/two-vms is being changed by bert on host elsewhere (pid 7)" in done.err
            assert REACHED in done.err
    finally:
        store.close()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("value", ["soon", "-1s", "1w", "1e3", "1 m", "nan", "9999999999", "36501d"])
def test_an_invalid_duration_is_one_error_with_a_hint(cli: Cli, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    done = cli(*APPLY, "--lock-timeout", value)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "error[usage]: Invalid value for '--lock-timeout' (env var: 'RECONCILER_LOCK_TIMEOUT'): "
        f"{value!r} is not a valid duration; write {DURATION_FORMS}\nhint: reconciler apply --help\n"
    )
    monkeypatch.setenv("RECONCILER_LEASE_TTL", value)
    done = cli(*APPLY)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"error[usage]: RECONCILER_LEASE_TTL: {value!r} is not a valid duration\nhint: write {DURATION_FORMS}\n"
    )
    assert not default_place("campus").exists()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("value", ["0.9", "3601s", "2h", "1d"])
def test_a_lease_is_neither_too_short_nor_too_long(cli: Cli, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RECONCILER_LEASE_TTL", value)
    done = cli(*APPLY)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"error[usage]: RECONCILER_LEASE_TTL is {value}, but must be between 1s and 1h\n"
        "hint: it must be the same for all processes that share a state\n"
    )
