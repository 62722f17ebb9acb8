"""Tests plans as text and JSON: whole outputs in golden files, and the shape that policy rules rely on."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from reconciler.plan.build import build_plan
from reconciler.plan.model import Plan
from reconciler.plan.planfile import plan_digest
from reconciler.plan.resources import KINDS
from reconciler.plan.snapshot import ResourceDrift, Seen, StateSnapshot
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.load import parse_slice
from reconciler.spec.models.names import Address
from reconciler.views.plan_json import render_json
from reconciler.views.plan_text import render_text, summary
from reconciler.views.values import essence, show_value
from tests.conftest import Golden
from tests.plan.examples import EMPTY, LAB1, LAB2, change, cluster, lab, made_of, plan
from tests.plan.replay import replay

SCENARIOS = sorted(Path(__file__).with_name("golden").glob("*.yaml"))
"""Each has the slices applied one after the other (`before`), and those now planned (`now`), or those to `destroy`."""


def scenario(path: Path) -> Plan:
    data = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    state = EMPTY
    for text in data.get("before", ()):
        state = replay(state, plan(written(text), state=state))
    return plan(*map(written, data.get("now", ())), state=state, destroy=data.get("destroy", ()))


def written(text: str) -> ExpandedSlice:
    return parse_slice(text, "slice.yaml").slice


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_whole_text_of_a_plan(path: Path, golden: Golden) -> None:
    made = scenario(path)
    golden(path.with_suffix(".txt"), render_text(made))
    assert render_text(made).endswith(f"{summary(made)}\n")


def test_every_kind_of_change_has_a_scenario() -> None:
    text = "".join(path.with_suffix(".txt").read_text(encoding="utf-8") for path in SCENARIOS)
    for symbol in ("    + vm/", "    ~ vm/", "    - vm/", "  -/+ vm/", "    ! vm/", "No changes. "):
        assert symbol in text
    for noun in KINDS.values():
        assert f"+ {noun.kind}/" in text


def data_of(made: Plan) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(render_json(made))
    return found


STATE: StateSnapshot = replay(EMPTY, plan(lab(links=[["a", "b"]])))
EDIT = build_plan(
    cluster(),
    [lab({"a": {"memory": "512MiB"}, "b": {}}, [["a", "b"]])],
    STATE,
    replace=[Address("disk/alice/lab1/b")],
)


def test_json_has_the_shape_that_policies_read() -> None:
    changes = {item["address"]: item for item in data_of(EDIT)["resource_changes"]}
    vm = changes["vm/alice/lab1/a"]
    assert vm["change"]["actions"] == ["update"]
    assert (vm["change"]["before"]["memory"], vm["change"]["after"]["memory"]) == (2**28, 2**29)
    assert (vm["type"], vm["slice"], vm["host"], vm["reason"]) == ("vm", LAB1, "worker1", "memory changed")
    assert vm["attributes"] == [{"name": "memory", "before": 2**28, "after": 2**29, "policy": "restart"}]
    assert changes["disk/alice/lab1/b"]["change"]["actions"] == ["delete", "create"]


def test_json_has_no_before_of_what_is_created_and_no_after_of_what_goes() -> None:
    made, gone = data_of(plan(lab(["a"]))), data_of(plan(state=STATE, destroy=[LAB1]))
    assert {(item["change"]["before"], *item["change"]["actions"]) for item in made["resource_changes"]} == {
        (None, "create")
    }
    assert {(item["change"]["after"], *item["change"]["actions"]) for item in gone["resource_changes"]} == {
        (None, "delete")
    }


def test_json_has_versions_numbers_and_steps() -> None:
    found = data_of(EDIT)
    assert (found["format_version"], found["lineage"], found["serial"], found["slices"]) == (1, "test", 1, [LAB1])
    counts = {"add": 0, "change": 1, "replace": 2, "destroy": 0, "restarts": 1, "interrupted": 1, "lost": 1}
    assert found["counts"] == counts | {"renamed": 0}
    assert found["summary"] == summary(EDIT)
    assert found["allocations"][LAB1]["pool"] == [[100, 119]]
    assert [step["id"] for step in found["steps"]] == list(range(1, 6))
    assert {step["action"] for step in found["steps"]} == {"create", "update", "delete"}


def test_json_is_the_same_once_read_and_written_again() -> None:
    text = render_json(EDIT)
    assert json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n" == text


def test_a_digest_distinguishes_plans() -> None:
    assert plan_digest(EDIT) == plan_digest(
        build_plan(
            cluster(),
            [lab({"b": {}, "a": {"memory": "512MiB"}}, [["a", "b"]])],
            STATE,
            replace=[Address("disk/alice/lab1/b")],
        )
    )
    assert plan_digest(EDIT) != plan_digest(plan(lab(links=[["a", "b"]]), state=STATE))


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (0, "No changes. 0 slices match the state."),
        (1, "No changes. 1 slice matches the state."),
        (2, "No changes. 2 slices match the state."),
    ],
)
def test_a_plan_without_changes_is_one_line(count: int, message: str) -> None:
    slices = [lab([], key=f"alice/lab{number}") for number in range(count)]
    assert render_text(plan(*slices)) == f"{message}\n"


@pytest.mark.parametrize(
    ("vms", "links", "message"),
    [
        (
            {"a": {"memory": "512MiB"}, "b": {}},
            1,
            "1 to change, 0 to replace, 0 to destroy. 1 VM restarts, 1 link interrupted.",
        ),
        (
            {"a": {"memory": "512MiB"}, "b": {"memory": "512MiB"}},
            1,
            "2 to change, 0 to replace, 0 to destroy. 2 VMs restart, 1 link interrupted.",
        ),
        ({"a": {}, "b": {}}, 0, "4 to change, 0 to replace, 5 to destroy. 1 link interrupted."),
    ],
)
def test_the_summary_counts_restarts_and_interruptions(vms: Any, links: int, message: str) -> None:
    made = plan(lab(vms, [["a", "b"]][:links]), state=STATE)
    assert summary(made) == f"Plan: 0 to add, {message}"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("memory", 2**29, "512MiB"),
        ("vlan", None, "none"),
        ("dhcp", True, "yes"),
        ("vlans", [100, 101], "100, 101"),
        ("vlans", [], "none"),
        ("leases", [{"mac": "m", "ip": "i", "hostname": "a", "default_route": True}], "m i a default route"),
    ],
)
def test_values_are_shown_as_people_write_them(name: str, value: Any, shown: str) -> None:
    assert show_value(name, value) == shown


def test_the_essence_of_a_vm() -> None:
    vm = change(plan(lab(["a"])), "vm/alice/lab1/a").after
    assert vm is not None
    assert essence(vm) == "vm_id 1001, vcpus 1, memory 256MiB, vnc 5901"


def test_a_lost_disk_is_marked_in_text_and_data() -> None:
    state = replay(EMPTY, plan(lab(["a", "b"])))
    seen = state.seen(Seen({Address(f"disk/{LAB1}/{vm}"): ResourceDrift(gone=True) for vm in ("a", "b")}))
    found = plan(lab(["a", "b"]), state=seen)
    line = "disk/alice/lab1/a on worker1  # create: overlay missing: its data is gone; a new, empty disk is made\n"
    assert line in render_text(found)
    assert summary(found).endswith("2 to replace, 0 to destroy. 2 VMs lose their data.")
    lost = {item["address"] for item in data_of(found)["resource_changes"] if item["data_lost"]}
    assert lost == {f"disk/{LAB1}/a", f"disk/{LAB1}/b"}


def test_every_vm_on_a_restored_image_is_named_in_any_slice() -> None:
    state = replay(EMPTY, plan(lab(["a"]), lab({"z": {"worker": "worker1"}}, key=LAB2)))
    (image,) = (where for where in state.resources if where.startswith("image/") and where.endswith("@worker1"))
    seen = state.seen(Seen({image: ResourceDrift(gone=False, values={"sha256": "not verified"})}))
    text = render_text(plan(lab(["a"]), state=seen))
    assert "sha256 changed on worker1" in text
    message = f"# unchanged, but may have read {image} as changed: restart it with --replace vm/"
    named = [line.partition("--replace ")[2] for line in text.splitlines() if message in line]
    assert named == ["vm/alice/lab1/a", "vm/bob/lab2/z"]
    assert "slice bob/lab2:" in text


SIX: dict[str, dict[str, Any]] = {name: {} for name in "abcdef"}
RING = [[one, other] for one, other in pairwise("abcdefa")]


def test_a_plan_of_many_vms_is_grouped_by_vm() -> None:
    made = plan(lab(SIX | {"a": {"internet": True}}, RING))
    lines = render_text(made).splitlines()
    assert len(lines) <= 40
    place = lines.index("    + vm/alice/lab1/a on worker1  # create: not in the state")
    assert lines[place + 1] == f"{' ' * 10}{essence(made_of(made, 'vm/alice/lab1/a'))}; 1 reservation, 1 disk, 3 ports"
    assert "    + 1 router, 4 trunks, 6 segments  # create: not in the state" in lines
    assert lines[-3:] == ["`reconciler plan --full` shows every resource.", "", summary(made)]
    whole = render_text(made, full=True)
    assert all(f" {item.address} " in whole for item in made.changes)
    assert "--full" not in whole


def test_in_a_grouped_plan_lost_data_and_changes_are_shown() -> None:
    state = replay(EMPTY, plan(lab(SIX | {"z": {}}, RING)))
    found = plan(lab({"z": {"memory": "512MiB"}}), state=state)
    lines = render_text(found).splitlines()
    for name in SIX:
        (line,) = (line for line in lines if f"- vm/alice/lab1/{name} on " in line)
        assert line.endswith("  # delete: no longer in the file; its data is lost")
    assert any("~ vm/alice/lab1/z on " in line for line in lines)
    assert any("memory = 256MiB -> 512MiB" in line for line in lines)
    assert not any("- disk" in line for line in lines)
    assert lines[-1].endswith("6 VMs lose their data.")


def test_three_vms_are_shown_with_all_resources() -> None:
    made = plan(lab(["a", "b", "c"]))
    assert render_text(made) == render_text(made, full=True)
