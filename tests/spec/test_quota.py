"""Tests how the use of quotas is counted, which the checks of files and of plans share."""

from __future__ import annotations

import pytest

from reconciler.spec.expand import ExpandedVm
from reconciler.spec.models.cluster import Quota
from reconciler.spec.models.names import Bytes
from reconciler.spec.quota import Excess, Usage, excesses, slice_usage, total

HAS = Usage(slices=1, vms=4, vcpus=8, memory=2**30, disk=2**33, vlans=20)


def test_a_size_that_is_not_known_counts_as_nothing() -> None:
    vms = [ExpandedVm(vcpus=2, memory=Bytes(2**20)), ExpandedVm(memory=Bytes(2**21), disk=Bytes(5)), ExpandedVm()]
    assert slice_usage(vms, 20) == Usage(1, 3, 2, 3 * 2**20, 5, 20)


def test_slices_add_up() -> None:
    assert total([]) == Usage()
    assert total([HAS, Usage(1, 1, 1, 1, 1, 1)]) == Usage(2, 5, 9, 2**30 + 1, 2**33 + 1, 21)


@pytest.mark.parametrize(
    ("quota", "after", "found"),
    [
        (Quota(), HAS._replace(vms=1000), []),
        (Quota(vms=5), HAS._replace(vms=5), []),
        (Quota(vms=5), HAS._replace(vms=6), [Excess("vms", 5, 4, 2)]),
        (Quota(vms=2), HAS, []),
        (Quota(vms=2), HAS._replace(vms=5), [Excess("vms", 2, 4, 1)]),
        (
            Quota(slices=0, vlans=0),
            HAS._replace(slices=2, vlans=40),
            [Excess("slices", 0, 1, 1), Excess("vlans", 0, 20, 20)],
        ),
    ],
    ids=["no limit", "up to it", "above it", "lowered", "lowered and more", "two of them"],
)
def test_only_growth_beyond_a_limit_exceeds_it(quota: Quota, after: Usage, found: list[Excess]) -> None:
    assert list(excesses(quota, HAS, after)) == found


def test_memory_is_shown_with_its_unit() -> None:
    assert (Excess("memory", 2**30, 0, 1).show(2**30), Excess("vms", 5, 0, 6).show(5)) == ("1GiB", "5")
    assert Excess("disk", 2**40, 0, 1).show(2**40) == "1TiB"
