"""A user who is no longer in the cluster file stops nobody else, and what is left of theirs can be destroyed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.applied import put_applied
from tests.cli.running import Cli, Write

OTHER = "version: 1\nname: other\nowner: bob\ndefaults: {flavor: cirros}\nvms: {a: {internet: true}, b: {}}\n"


@pytest.fixture
def left(project: Path, write: Write) -> Path:
    """Put a slice of admin into the state, then take admin out of the cluster file and add bob."""
    put_applied(project, "slices/two-vms.yaml")
    cluster = project / "cluster.yaml"
    text = cluster.read_text()
    cluster.write_text(text[: text.index("users:")] + "users:\n  bob: {quota: {vms: 2}}\n")
    write("slices/other.yaml", OTHER)
    return project


@pytest.mark.usefixtures("left")
def test_slices_of_others_are_planned(cli: Cli) -> None:
    done = cli("plan", "slices/other.yaml")
    assert (done.code, "vm/bob/other/a" in done.out) == (0, True), done.err
    assert cli("status").code == 0
    assert cli("show", "admin/two-vms").code == 0


@pytest.mark.usefixtures("left")
def test_what_is_left_can_be_destroyed(cli: Cli) -> None:
    done = cli("destroy", "--auto-approve", "admin/two-vms")
    assert "- disk/admin/two-vms/web" in done.out, done.err


@pytest.mark.usefixtures("left")
def test_their_file_is_one_error_and_another_file_can_be_planned_beside_it(cli: Cli) -> None:
    told = cli("plan").err
    assert told.count("error[") == 1
    assert "the cluster has no user admin" in told
    assert cli("plan", "other").code == 0
