"""A host works for one state, and keeps copies of it: shown with real shells."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.apply.transport.batch import Batch, OperationLock, Task
from reconciler.apply.transport.claim import (
    READ_COPIES,
    READ_OWNER,
    Claim,
    HostOwner,
    parse_copies,
    parse_owner,
    release,
    write_copy,
)
from reconciler.apply.transport.command import Command, Result
from reconciler.apply.transport.fence import Fence
from reconciler.apply.transport.script import REFUSED, Transcript, render
from reconciler.errors import HostOwned
from reconciler.spec.models.names import HostName
from tests.apply.files import create, file
from tests.apply.localhost import Localhosts
from tests.apply.test_executor import W1, World

NONCE = "5f" * 16
OWNER = HostOwner("5f0e", 3, "2026-11-02T08:00:00+00:00", "campus", "ana on host ops1", "/srv/ana/campus.db")
OTHER = replace(OWNER, lineage="9b41", who="bob on host ops2")


def perform(folder: Path, claim: Claim | None, shell: str = "sh", token: int = 1) -> tuple[int, Transcript]:
    """Send a batch that makes a file, under this claim."""
    tasks = (Task(0, (Command(("touch", str(folder / "made"))),)),)
    moved = None if claim is None else replace(claim, folder=str(folder / "state"))
    lineage = "5f0e" if claim is None else claim.owner.lineage
    fence = Fence(lineage, {"ana/lab": token}, str(folder / "fence"), moved)
    text = render(Batch(tasks, OperationLock(str(folder / "lock")), fence), NONCE)
    done = subprocess.run([shell, "-s"], input=text, text=True, stdout=subprocess.PIPE, check=False, timeout=30)
    transcript = Transcript(tasks, NONCE)
    for line in done.stdout.splitlines():
        transcript.feed(line)
    return done.returncode, transcript


def run(folder: Path, command: Command) -> Result:
    """Run a command of the module on a folder."""
    argv = [word.replace("/var/lib/reconciler/state", str(folder / "state")) for word in command.argv]
    done = subprocess.run(argv, input=command.stdin or "", text=True, stdout=subprocess.PIPE, check=False, timeout=30)
    return Result(done.returncode, done.stdout)


def owner(folder: Path) -> HostOwner | None:
    return parse_owner("w", run(folder, READ_OWNER))


def copies(folder: Path) -> tuple[tuple[str, str], ...]:
    return parse_copies("w", run(folder, READ_COPIES))


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_first_state_owns_the_host_and_others_are_refused(tmp_path: Path, shell: str) -> None:
    assert owner(tmp_path) is None
    assert perform(tmp_path, Claim(OWNER, {"ana@lab": "abc+/=="}), shell)[0] == 0
    assert (owner(tmp_path), copies(tmp_path)) == (OWNER, (("ana@lab", "abc+/=="),))
    (tmp_path / "made").unlink()
    status, transcript = perform(tmp_path, Claim(OTHER, {"bob@lab": "xyz"}), shell)
    assert (status, transcript.owned, transcript.complete) == (REFUSED, True, False)
    assert "it belongs to the state 5f0e" in transcript.stray
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / "fence" / "9b41").exists()
    assert (owner(tmp_path), copies(tmp_path)) == (OWNER, (("ana@lab", "abc+/=="),))


def test_a_later_apply_is_written_and_the_time_since_when_stays(tmp_path: Path) -> None:
    perform(tmp_path, Claim(OWNER, {"ana@lab": "first"}))
    later = replace(OWNER, apply=5, since="2026-12-01T00:00:00+00:00", who="eve on host ops3")
    assert perform(tmp_path, Claim(later, {"ana@lab": "second"}))[0] == 0, "the same token: the fence is not new"
    assert (owner(tmp_path), copies(tmp_path)) == (replace(later, since=OWNER.since), (("ana@lab", "second"),))
    assert perform(tmp_path, Claim(OWNER, {"ana@lab": "third"}), token=2)[0] == 0, "an apply that began before"
    assert owner(tmp_path) == replace(later, since=OWNER.since), "the latest apply is what a host reports"


def test_a_state_that_takes_over_owns_the_host_from_then_on(tmp_path: Path) -> None:
    perform(tmp_path, Claim(OWNER))
    assert perform(tmp_path, Claim(OTHER, take=True))[0] == 0
    assert owner(tmp_path) == OTHER
    assert perform(tmp_path, Claim(replace(OWNER, apply=9)))[0] == REFUSED


def test_a_host_is_free_once_its_state_releases_it_and_only_then(tmp_path: Path) -> None:
    perform(tmp_path, Claim(OWNER, {"ana@lab": "abc"}))
    assert run(tmp_path, release("9b41")).status == 0
    assert owner(tmp_path) == OWNER
    assert run(tmp_path, release("5f0e")).status == 0
    assert not (tmp_path / "state").exists()
    assert run(tmp_path, release("5f0e")).status == 0, "twice"
    assert perform(tmp_path, Claim(OTHER))[0] == 0


def test_values_that_would_break_the_file_or_the_shell_are_kept_as_text(tmp_path: Path) -> None:
    hostile = replace(OWNER, cluster="a\nb", who=f"$(touch {tmp_path}/made2)", place="it's; exit 0")
    assert perform(tmp_path, Claim(hostile))[0] == 0
    assert owner(tmp_path) == replace(hostile, cluster="a b")
    assert not (tmp_path / "made2").exists()


def test_an_owner_that_was_cut_short_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "owner").touch()
    assert owner(tmp_path) is None
    assert perform(tmp_path, Claim(OWNER))[0] == 0
    assert owner(tmp_path) == OWNER


def test_a_copy_is_replaced_whole_and_private(tmp_path: Path) -> None:
    perform(tmp_path, Claim(OWNER, {"ana@lab": "abc"}))
    assert (tmp_path / "state" / "5f0e").stat().st_mode & 0o077 == 0
    assert run(tmp_path, write_copy("5f0e", "ana@lab", "def")).status == 0
    (tmp_path / "state" / "5f0e" / "ana@lab.new").write_text("cut sho")
    assert copies(tmp_path) == (("ana@lab", "def"),)


def test_a_host_without_space_for_copies_is_used(tmp_path: Path) -> None:
    (tmp_path / "state" / "5f0e" / "ana@lab.new").mkdir(parents=True)
    assert perform(tmp_path, Claim(OWNER, {"ana@lab": "abc"}))[0] == 0
    assert (owner(tmp_path), (tmp_path / "made").exists()) == (OWNER, True)


async def test_the_executor_reports_a_host_of_another_state_and_does_nothing_there(hosts: Localhosts) -> None:
    folder = hosts.folder(W1) / "root" / "state"
    folder.mkdir(parents=True)
    (folder / "owner").write_text("\n".join(OTHER.lines()) + "\n")
    world = World(hosts, fence=Fence("5f0e", {"ana/lab": 1}), claims={W1: Claim(OWNER)})
    report = await world.execute(create(1, file(world.folder(W1), "a")))
    assert [(result.step.id, result.message) for result in report.failed] == [
        (1, "it belongs to the state 9b41, not to this one")
    ]
    assert world.log(W1) == []


def test_the_error_says_what_to_do() -> None:
    assert "state rebuild" in (HostOwned(HostName("w"), "it belongs to another state").hint or "")
