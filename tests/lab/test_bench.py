"""The benches that need a lab run in small on the shared lab, and leave nothing there."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler import lab as labs
from tests.bench import applying, breadth, verifying
from tests.bench.test_bench_smoke import check
from tests.lab.census import census, settled


@pytest.mark.lab
def test_applies_are_measured(lab: labs.LabInfo, tmp_path: Path) -> None:
    before = census(lab)
    check(applying.apply_slices(lab, tmp_path, sizes=(2,), times=2))
    check(verifying.verify_slices(lab, tmp_path, sizes=(2, 3), times=1))
    check(breadth.many_hosts(lab, tmp_path, steps=3, times=1))
    assert settled(lab, before) == []
