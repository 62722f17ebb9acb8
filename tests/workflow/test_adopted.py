"""What a creation finds on its host already, with our tag, is said to be adopted and not created."""

from __future__ import annotations

from pathlib import Path

from reconciler import workflow
from reconciler.plan.model import Action
from reconciler.simulation.cluster import SimulatedCluster
from reconciler.spec.models.names import HostName
from reconciler.views.documents import AppliedChanges
from reconciler.views.progress import event_line
from reconciler.views.report import apply_view, report_text
from reconciler.workflow.simulate import apply_on

ROOT = Path(__file__).parents[2]
INPUTS = workflow.load(ROOT / "examples/cluster.yaml", [ROOT / "examples/topologies/two-vms.yaml"])


ONE = HostName("worker1")


def cluster() -> SimulatedCluster:
    return SimulatedCluster([host.name for host in INPUTS.cluster.cluster.hosts()])


def test_what_is_there_is_adopted_and_the_rest_is_created() -> None:
    first, second = cluster(), cluster()
    made = apply_on(first, INPUTS)
    assert made.report is not None
    assert not any(result.adopted for result in made.report.results)
    second.hosts = first.hosts
    disks = [name for name, found in second.hosts[ONE].objects.items() if found.resource.holds_data]
    for name in disks:
        del second.hosts[ONE].objects[name]

    again = apply_on(second, INPUTS)
    assert again.report is not None
    assert again.ok
    created = [result for result in again.report.results if not result.adopted]
    assert [result.step.address.partition("/")[0] for result in created] == ["disk"] * len(disks)
    assert disks
    count = sum(result.adopted for result in again.report.results)
    assert f" {len(again.plan.steps)} added ({count} adopted), 0 changed" in report_text(again.plan, again.report)
    adopted = next(result for result in again.report.results if result.adopted)
    assert (event_line(adopted, verbose=False) or "").endswith(": adopted: it was there already")
    document = apply_view(again, []).document()
    assert isinstance(document, AppliedChanges)
    assert [step.adopted for step in document.done].count(True) == count
    assert all(result.step.action is Action.CREATE for result in again.report.results)
