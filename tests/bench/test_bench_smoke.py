"""Every bench runs in small, so that `make bench` stays usable; the table says which targets are missed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from reconciler import workflow
from tests.bench import planning, scheduling
from tests.bench.figures import Figure, table, to_json
from tests.bench.processes import run
from tests.bench.run import BENCHES
from tests.bench.topologies import slice_text, write_campuses

CAMPUS = Path(__file__).with_name("campus.py")


def test_generated_files_hold_as_many_as_asked(tmp_path: Path) -> None:
    folders = write_campuses(tmp_path, 168)
    counts = [len(workflow.load(folder / "cluster.yaml", [folder]).slices) for folder in folders]
    assert counts == [167, 1]


def test_a_campus_is_planned_in_a_process_of_its_own(tmp_path: Path) -> None:
    (folder,) = write_campuses(tmp_path, 2)
    done = run([sys.executable, str(CAMPUS), str(folder)])
    told = json.loads(done.out)
    assert (told["vms"], told["links"]) == (20, 40)
    assert told["steps"] > 100
    assert done.size > 0


def test_a_circle_links_each_vm_to_the_next(tmp_path: Path) -> None:
    assert slice_text("ring", 3, (1,)).splitlines()[-3:] == [
        "  - [vm1:eth1, vm2:eth1]",
        "  - [vm2:eth2, vm3:eth1]",
        "  - [vm3:eth2, vm1:eth2]",
    ]


def test_the_report_says_what_was_missed() -> None:
    figures = [
        Figure("plan", 3.25, "s", 2.5, note="busy"),
        Figure("against pyinfra", 8.0, "times", 5, at_least=True),
        Figure("batches", 4),
    ]
    assert table(figures).splitlines()[2:] == [
        "plan             3.25 s    <= 2.50 s   missed  busy",
        "against pyinfra  8 times   >= 5 times  ok",
        "batches          4",
    ]
    assert [figure["ok"] for figure in json.loads(to_json(figures))] == [False, True, None]


def check(figures: list[Figure]) -> None:
    """Check that every figure is a plausible one; how fast this machine is does not matter here."""
    assert figures
    assert [figure for figure in figures if not 0 <= figure.measured < 1000] == []
    assert table(figures).count("\n") == len(figures) + 2


@pytest.mark.slow
def test_planning_is_measured(tmp_path: Path) -> None:
    check(planning.cold_plan(tmp_path, slices=2, times=1))
    check(planning.one_slice(tmp_path, times=1))
    check(planning.one_more(tmp_path, slices=2, times=1))


def test_scheduling_is_measured() -> None:
    assert 0 < scheduling.measure(hosts=5, count=3) < 60


def test_every_bench_has_a_name() -> None:
    assert set(BENCHES) == {"cold", "start", "more", "scheduling", "apply", "verify", "hosts", "others"}
