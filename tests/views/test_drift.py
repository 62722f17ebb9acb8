"""`drift --json` keeps its keys for an attribute that differs."""

from __future__ import annotations

from reconciler.apply.observation.drift import AttributeDrift, Drift, DriftKind
from reconciler.spec.models.names import Address, HostName
from reconciler.views.documents import DriftDocument
from reconciler.views.drift import drift_view
from reconciler.workflow.refresh import ClusterDrift


def test_an_attribute_that_differs_is_a_document() -> None:
    item = Drift(
        Address("vm/alice/lab/a"), HostName("worker1"), DriftKind.CHANGED, (AttributeDrift("cloud_init", "a", "b"),)
    )
    document = drift_view(ClusterDrift((item,), (), ()), 1).document()
    assert isinstance(document, DriftDocument)
    assert document.model_dump()["resource_drift"] == [
        {
            "address": "vm/alice/lab/a",
            "host": "worker1",
            "kind": "changed",
            "attributes": [{"name": "cloud_init", "recorded": "a", "observed": "b"}],
            "words": "",
        }
    ]
