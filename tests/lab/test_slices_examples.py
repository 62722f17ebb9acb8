"""Every example is planned, applied, found without drift, and destroyed completely."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.census import census, settled
from tests.lab.site import EXAMPLES, Site

pytestmark = pytest.mark.lab

FILES = sorted(EXAMPLES.glob("*.yaml"))


def test_there_are_examples() -> None:
    assert {"two-vms", "triangle", "line"} <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_applied_and_destroyed(path: Path, site: Site) -> None:
    empty = census(site.lab)
    planned = site.run("plan", "--detailed-exitcode", path)
    assert planned.code == 2, planned.told
    assert settled(site.lab, empty) == [], "a plan touches nothing"
    site.apply(path)
    assert [vm.data["status"] for vm in site.vms(path.stem).values()] != []
    assert {vm.data["status"] for vm in site.vms(path.stem).values()} == {"present"}
    site.in_sync(path)
    site.destroy(path.stem)
    assert site.slices() == []
    assert settled(site.lab, empty) == []
