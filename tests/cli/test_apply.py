"""`apply` and `destroy` where no host can be logged in to: questions, refusals, and how trouble is told."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.state.sql.store import SqlStore, open_store
from tests.cli.running import Cli, asking, on_terminal, plain

pytestmark = pytest.mark.slow

INTERRUPTED = 130
QUESTION = "Do this? [y/N]: "


def state_of(project: Path) -> SqlStore:
    return open_store(project / "state.db", cluster="campus", clock=lambda: datetime.now(UTC), read_only=True)


@pytest.mark.parametrize("verb", ["apply", "destroy"])
@pytest.mark.usefixtures("project")
def test_without_a_terminal_nothing_is_done_unapproved(process: Cli, verb: str) -> None:
    done = process(verb, *(["two-vms"] if verb == "destroy" else []))
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "error[usage]: there is no terminal to ask on, so nothing was changed\n"
        "hint: review `reconciler plan`, then add --auto-approve\n"
    )


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("keys", [b"n\n", b"\n", b"\x04"], ids=["no", "enter", "end of input"])
def test_a_no_changes_nothing(cli: Cli, keys: bytes) -> None:
    done = on_terminal(["apply"], until=QUESTION, keys=keys)
    assert done.code == 1
    assert "Plan: 19 to add" in done.out
    assert done.out.endswith("Nothing was changed.\n")
    assert cli("status", "--json").data == []


def test_ctrl_c_at_the_question_changes_nothing_and_releases_the_locks(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_STATE", str(project / "state.db"))
    with asking(["apply"], QUESTION) as run:
        with closing(
            open_store(project / "state.db", cluster="campus", clock=lambda: datetime.now(UTC), read_only=True)
        ) as store:
            assert [lock.name for lock in store.locks()] == ["admin/two-vms"]
        done = run.answer(b"\x03")
    assert done.code == INTERRUPTED
    assert done.out.endswith("Interrupted.\n")
    assert cli("status", "--json").data == []
    with closing(
        open_store(project / "state.db", cluster="campus", clock=lambda: datetime.now(UTC), read_only=True)
    ) as store:
        assert store.locks() == ()


@pytest.mark.usefixtures("project")
def test_a_yes_does_it(cli: Cli) -> None:
    done = on_terminal(["apply", "--no-color"], until=QUESTION, keys=b"y\n")
    assert done.code == 1
    assert "Apply incomplete" in plain(done.out)
    assert [view["slice"] for view in cli("status", "--json").data] == ["admin/two-vms"]


@pytest.mark.usefixtures("project")
def test_the_question_of_a_json_apply_leaves_one_document(cli: Cli) -> None:
    done = on_terminal(["apply", "--json"], until=QUESTION, keys=b"n\n")
    _, _, result = done.out.partition(QUESTION)
    assert '"approved": false' in result
    assert "Plan: 19 to add" in done.out


@pytest.mark.usefixtures("project")
def test_each_trouble_is_told_once_with_its_hint(cli: Cli) -> None:
    done = cli("apply", "--auto-approve")
    failed = [line for line in done.out.splitlines() if line.startswith("failed: ")]
    assert done.code == 1
    assert sorted(line.split(": ")[1] for line in failed) == ["gateway", "worker1", "worker2"]
    assert all(" steps: " in line for line in failed)
    assert done.out.count("\n  hint: ") == len(failed)
    causes = re.findall(
        r"^skipped: \d+ steps? \((?:it depends|they depend) on (?:steps that failed|\S+) on (\w+)[,)]",
        done.out,
        re.MULTILINE,
    )
    assert sorted(causes) == sorted({*causes})
    assert "worker1" in causes
    assert done.out.splitlines()[-1] == "Run apply again to continue; completed steps are kept."
    assert all(line.split()[0] in {"gateway", "worker1", "worker2"} for line in done.err.splitlines())


@pytest.mark.usefixtures("project")
def test_trouble_as_data(cli: Cli) -> None:
    done = cli("apply", "--auto-approve", "--json")
    data = done.data
    assert (done.code, done.err) == (1, "")
    assert (data["approved"], data["ok"], data["renumbered"], data["done"]) == (True, False, False, [])
    assert {step["host"] for step in data["failed"]} == {lost["host"] for lost in data["hosts_lost"]}
    assert all(lost["hint"] for lost in data["hosts_lost"])
    assert len(data["failed"]) + len(data["skipped"]) == len(cli("plan", "--json").data["resource_changes"])


@pytest.mark.usefixtures("project")
def test_destroy_needs_no_file(cli: Cli, project: Path) -> None:
    assert cli("apply", "--auto-approve").code == 1
    (project / "slices/two-vms.yaml").unlink()
    done = cli("destroy", "--auto-approve", "two-vms", "--json")
    assert done.data["slices"] == ["admin/two-vms"]
