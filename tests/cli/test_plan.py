"""`plan`, `status` and `show`: they read files and the record, and contact nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from reconciler.spec.models.durations import DURATION_FORMS
from tests.bench.planning import write_state
from tests.bench.topologies import write_cluster
from tests.cli.running import PROGRAM, Cli, Write

CHANGES = 2


@pytest.mark.usefixtures("project")
def test_exit_codes_of_plan(cli: Cli, write: Write) -> None:
    assert cli("plan").code == 0
    assert cli("plan", "--detailed-exitcode").code == CHANGES
    assert cli("plan", "--detailed-exitcode", "nowhere").code == 1
    write("bare.yaml", "version: 1\nname: bare\nowner: admin\n")
    assert cli("plan", "--detailed-exitcode", "bare.yaml").code == 0


@pytest.mark.root
def test_plan_needs_neither_network_nor_key_nor_writable_place(project: Path) -> None:
    before = sorted(project.parent.rglob("*"))
    # A user of no name in a network namespace with nothing in it, not even a loopback that is up.
    argv = ["unshare", "--net", "--", PROGRAM, "plan", "slices/two-vms.yaml"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(project.parent / "home")}
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("Plan: 19 to add, 0 to change, 0 to replace, 0 to destroy.\n")
    assert sorted(project.parent.rglob("*")) == before


@pytest.mark.usefixtures("project")
def test_plan_as_json_is_the_plan_alone(cli: Cli) -> None:
    done = cli("plan", "--json")
    assert done.err == ""
    assert {change["change"]["actions"][0] for change in done.data["resource_changes"]} == {"create"}


@pytest.mark.usefixtures("project")
def test_nothing_recorded(cli: Cli) -> None:
    assert cli("status").out == "There is no slice in the state.\n"
    assert cli("status", "--json").data == []


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("arguments", [["drift"], ["gc", "--dry-run"], ["gc", "--auto-approve"]], ids=" ".join)
def test_hosts_that_cannot_be_read_are_named_and_no_orphan_is_ruled_out(cli: Cli, arguments: list[str]) -> None:
    done, data = cli(*arguments), cli(*arguments, "--json").data
    assert done.code == 1
    told = [line.split(": ")[:2] for line in done.out.splitlines()[:-1]]
    assert told == [["unreachable", host] for host in ("gateway", "worker1", "worker2", "worker3")]
    assert [(one["host"], one["what"]) for one in data["unread"]] == [(host, "all") for _, host in told]
    assert data["orphans"] == []


@pytest.mark.usefixtures("project")
def test_gc_asks_first_and_refuses_an_invalid_duration(cli: Cli) -> None:
    refused = cli("gc")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == (
        "error[usage]: there is no terminal to ask on, so nothing was changed\n"
        "hint: review `reconciler gc --dry-run`, then add --auto-approve\n"
    )
    for text in ("m", "-1m", "1w", "1.5.5h", ""):
        done = cli("gc", "--dry-run", "--older-than", text)
        assert (done.code, done.out) == (1, "")
        assert f"{text!r} is not a valid duration; write {DURATION_FORMS}" in done.err


@pytest.mark.parametrize("verb", ["show", "drift", "destroy"])
@pytest.mark.usefixtures("project")
def test_a_slice_that_is_not_recorded(cli: Cli, verb: str) -> None:
    more = ["--auto-approve"] if verb == "destroy" else []
    done = cli(verb, "two-vms", *more)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "error[usage]: there is no slice 'two-vms' in the state\n"
        "hint: the state has no slice; check --state and --cluster\n"
    )


def test_names_of_recorded_slices(cli: Cli, project: Path, write: Write) -> None:
    text = (project / "slices/two-vms.yaml").read_text()
    cluster = (project / "cluster.yaml").read_text()
    write("cluster.yaml", cluster + "  bob: {quota: {slices: 1}}\n")
    write("slices/bob.yaml", text.replace("owner: admin", "owner: bob"))
    assert cli("apply", "--auto-approve").code == 1  # no host is reached, but both slices are recorded
    assert [view["slice"] for view in cli("status", "--json").data] == ["admin/two-vms", "bob/two-vms"]
    assert cli("show", "bob/two-vms", "--json").data["slice"] == "bob/two-vms"
    assert "slice bob/two-vms" in cli("show", "bob/two-vms").out
    done = cli("show", "two-vms")
    assert done.code == 1
    assert done.err == (
        "error[usage]: two-vms could be admin/two-vms or bob/two-vms\nhint: name the slice as owner/name\n"
    )
    assert "hint: slices in the state: admin/two-vms, bob/two-vms" in cli("show", "three-vms").err


def test_a_plan_of_many_files_uses_caches_and_prints_the_same(cli: Cli, project: Path) -> None:
    names = [f"slice{number:02}" for number in range(21)]
    place = write_cluster(project / "many", "many", names)
    state = project / "state.db"
    write_state(place, [place / f"{name}.yaml" for name in names], state)
    argv = ["plan", "--cluster", str(place / "cluster.yaml"), "--state", str(state), str(place)]
    first = cli(*argv)
    assert first.code == 0
    caches = sorted(path.parent.name for path in (project.parent / "home").rglob("*.json"))
    assert caches == ["documents", "settled"]
    assert cli(*argv) == first


def test_full_shows_every_resource_of_many_vms(cli: Cli, project: Path) -> None:
    place = write_cluster(project / "ten", "ten", ["ten"])
    argv = ["plan", "--cluster", str(place / "cluster.yaml"), str(place / "ten.yaml")]
    assert " port/admin/ten/vm1:eth1 " not in cli(*argv).out
    assert " port/admin/ten/vm1:eth1 " in cli(*argv, "--full").out
    assert cli(*argv, "--json").data == cli(*argv, "--full", "--json").data


def test_a_plan_prints_addresses_as_replace_takes_them(cli: Cli, project: Path) -> None:
    assert (project / "slices/two-vms.yaml").exists()
    text, changes = cli("plan", "--full").out, cli("plan", "--json").data["resource_changes"]
    assert changes
    for change in changes:
        assert f" {change['address']} on " in text
