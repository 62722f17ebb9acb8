"""Verbs that take slices take the name of a slice or its file alike."""

from __future__ import annotations

import pytest

from tests.cli.running import Cli, Write

FILE = "slices/two-vms.yaml"


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize("verb", ["show", "show --json", "state list", "plan", "validate"])
def test_both_say_the_same(cli: Cli, verb: str) -> None:
    by_file = cli(*verb.split(), FILE)
    assert by_file.code == 0, by_file.err
    for name in ("two-vms", "admin/two-vms"):
        by_name = cli(*verb.split(), name)
        assert (by_name.code, by_name.out) == (0, by_file.out), by_name.err


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize("given", [FILE, "two-vms"])
def test_a_destroy_finds_its_slice_by_either(cli: Cli, given: str) -> None:
    done = cli("destroy", "--auto-approve", given)
    assert "disk/admin/two-vms/web" in done.out, done.err


@pytest.mark.usefixtures("project")
def test_what_is_neither_is_named(cli: Cli) -> None:
    assert "nothing-here" in cli("plan", "nothing-here").err
    assert "there is no slice 'nothing.yaml' in the state" in cli("show", "nothing.yaml").err


@pytest.mark.usefixtures("project")
def test_a_broken_file_beside_it_changes_nothing(cli: Cli, write: Write) -> None:
    write("slices/broken.yaml", "version: 1\nname: broken\n")
    assert cli("plan", "two-vms").out == cli("plan", FILE).out != ""
