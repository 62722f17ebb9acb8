"""Measures planning: a thousand files at once, one slice alone, and one slice more when there are many."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from reconciler import workflow
from reconciler.plan.results import StepResult, StepStatus
from reconciler.state.sql.store import open_store
from reconciler.state.store import Holder
from tests.bench.figures import Figure, timed
from tests.bench.processes import PROGRAM, Run, median_run, run
from tests.bench.topologies import write_campuses, write_cluster

_HOLDER = Holder("bench", "here", 1)


def cold_plan(folder: Path, slices: int, times: int) -> list[Figure]:
    """Plan many files in one process, then again with one of them changed."""
    clusters = write_campuses(folder / "campuses", slices)
    argv = [sys.executable, str(Path(__file__).with_name("campus.py")), *map(str, clusters)]
    first = median_run(argv, times)
    told = json.loads(first.out)
    size = f"{slices} files, {told['vms']} VMs, {told['links']} links"
    parts = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in told["seconds"].items())
    caches = {"RECONCILER_CACHE_DIR": str(folder / "caches")}
    unapplied = _again(argv, clusters, caches, times)
    for cluster in clusters:
        write_state(cluster, [cluster], cluster.with_suffix(".db"))
    applied = _again(argv, clusters, caches, times)
    return [
        Figure(f"cold plan, {size}", first.seconds, "s", 2.5, note=f"{parts}; processor {first.cpu:.2f} s"),
        Figure("  its memory", first.size, "MiB", 400),
        _again_figure("all", applied),
        _again_figure("none", unapplied),
    ]


def _again(argv: list[str], clusters: Sequence[Path], caches: dict[str, str], times: int) -> Run:
    """Plan a few times with caches, each time with one link less in one file; returns the run of middle length."""
    run(argv, caches)
    changed = clusters[0] / "slice1.yaml"
    runs = []
    for _ in range(times):
        changed.write_text("".join(changed.read_text().splitlines(keepends=True)[:-1]))
        runs.append(run(argv, caches))
    return sorted(runs, key=lambda done: done.seconds)[times // 2]


def _again_figure(applied: str, done: Run) -> Figure:
    parts = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in json.loads(done.out)["seconds"].items())
    return Figure(f"the same with one file changed, {applied} applied", done.seconds, "s", 1.0, note=parts)


def one_slice(folder: Path, times: int) -> list[Figure]:
    """Plan one slice, and print the help, each as a whole process, compared with a Python that does nothing."""
    place = write_cluster(folder / "one", "one", ["ten"])
    nothing = median_run([sys.executable, "-c", "pass"], times)
    found = []
    for what, target, argv in (
        ("plan of one 10-VM slice", 0.4, ["plan", str(place / "ten.yaml")]),
        ("--help", 0.15, ["--help"]),
    ):
        took = median_run([PROGRAM, *argv], times, _settings(place, folder / "one.db"))
        note = f"{took.seconds / nothing.seconds:.1f} times `python -c pass`; processor {took.cpu:.2f} s"
        found.append(Figure(what, took.seconds, "s", target, note=note))
    return found


def one_more(folder: Path, slices: int, times: int) -> list[Figure]:
    """Plan one new slice with none and with many in the state, as a whole process and inside of one."""
    names = [f"slice{number}" for number in range(1, slices + 1)]
    place = write_cluster(folder / "many", "many", [*names, "another"])
    another = place / "another.yaml"
    empty, full = folder / "empty.db", folder / "full.db"
    write_state(place, [place / f"{name}.yaml" for name in names], full)
    whole = {
        state: median_run([PROGRAM, "plan", str(another)], times, _settings(place, state)).seconds
        for state in (empty, full)
    }
    inside = {state: _plan_seconds(place, another, state, times) for state in (empty, full)}
    note = f"{whole[empty]:.2f} s and {whole[full]:.2f} s; {inside[empty]:.3f} s and {inside[full]:.3f} s without start"
    return [
        Figure(f"plan of one slice more, beside {slices} against none", whole[full] / whole[empty], "", 1.3, note=note)
    ]


def _settings(place: Path, state: Path) -> dict[str, str]:
    return {"RECONCILER_CLUSTER": str(place / "cluster.yaml"), "RECONCILER_STATE": str(state)}


def _plan_seconds(place: Path, path: Path, state: Path, times: int) -> float:
    inputs = workflow.load(place / "cluster.yaml", [path])
    with closing(open_store(state, cluster=place.name, clock=lambda: datetime.now(UTC))) as store:
        return timed(lambda: workflow.plan(inputs, store), times)


def write_state(place: Path, paths: Sequence[Path], state: Path) -> None:
    """Write slices into a state as if they had been applied."""
    inputs = workflow.load(place / "cluster.yaml", paths)
    with closing(open_store(state, cluster=place.name, clock=lambda: datetime.now(UTC))) as store:
        planned = workflow.plan(inputs, store)
        number = store.begin(planned, _HOLDER, "")
        store.intend(number, planned.steps)
        store.record(number, [StepResult(step, StepStatus.DONE) for step in planned.steps])
        store.finish(number, "done", 0)
