"""Expansion: group settings and defaults filled in once, and each value found in the file."""

from __future__ import annotations

import pytest

from reconciler.errors import Location
from reconciler.spec.expand import ExpandedVm, expand, with_flavor
from reconciler.spec.load import SliceFile, parse_slice
from reconciler.spec.models.cluster import Flavor
from reconciler.spec.models.names import Bytes, VmName
from reconciler.spec.models.slice import Slice

LAYERED = """\
version: 1
name: lab
owner: admin
defaults: {flavor: small, internet: false, labels: {course: a, room: x}}
groups:
  routers: {flavor: large, interfaces: 3, labels: {course: b}}
vms:
  r1: {group: routers, internet: true, labels: {rack: "1"}}
  web: {vcpus: 2}
  bare: {flavor: null}
"""
HEAD = {"version": 1, "name": "lab", "owner": "admin"}


def vm(name: str, text: str = LAYERED) -> ExpandedVm:
    return parse_slice(text, "lab.yaml").slice.vms[VmName(name)]


def test_a_vm_overrides_its_group_and_labels_add_up() -> None:
    r1, web = vm("r1"), vm("web")
    assert (r1.flavor, r1.interfaces, r1.internet, r1.group) == ("large", 3, True, "routers")
    assert r1.labels == {"course": "b", "room": "x", "rack": "1"}
    assert (web.flavor, web.vcpus, web.internet, web.interfaces) == ("small", 2, False, None)


def test_null_removes_a_default() -> None:
    assert vm("bare").flavor is None


def test_a_vm_of_an_unknown_group_has_its_own_settings_only() -> None:
    whole = expand(Slice.model_validate({**HEAD, "vms": {"a": {"group": "none", "vcpus": 3}}}))
    assert whole.vms[VmName("a")] == ExpandedVm(vcpus=3, group="none")


def test_expansion_keeps_the_order_and_the_rest_of_the_file() -> None:
    written = Slice.model_validate({**HEAD, "vlans": 5, "links": [["b", "a"]], "vms": {"b": {}, "a": {}}})
    whole = expand(written)
    assert (whole.key, whole.vlans, whole.links) == (written.key, 5, written.links)
    assert list(whole.vms) == ["b", "a"]


def test_vms_with_the_same_settings_are_merged_once() -> None:
    vms = {f"vm{number}": {"labels": {"rack": str(number % 2)}} for number in range(100)}
    whole = expand(Slice.model_validate({**HEAD, "defaults": {"flavor": "small"}, "vms": vms}))
    assert len({id(one) for one in whole.vms.values()}) == 2


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        (("vms", "r1", "flavor"), 6, 21),
        (("vms", "r1", "interfaces"), 6, 40),
        (("vms", "r1", "internet"), 8, 34),
        (("vms", "r1", "labels", "room"), 4, 70),
        (("vms", "r1", "labels", "course"), 6, 60),
        (("vms", "r1", "labels", "rack"), 8, 55),
        (("vms", "web", "flavor"), 4, 20),
        (("vms", "bare", "flavor"), 10, 10),
        (("vms", "web", "disk"), 9, 8),
        (("name",), 2, 7),
    ],
)
def test_the_source_of_each_expanded_value_is_found(path: tuple[str, ...], line: int, column: int) -> None:
    file: SliceFile = parse_slice(LAYERED, "lab.yaml")
    assert file.locate(path) == Location("lab.yaml", line, column)


def test_a_flavor_fills_in_what_a_vm_leaves_open() -> None:
    flavor = Flavor.model_validate({"image": "cirros", "vcpus": 1, "memory": "256MiB", "disk": "1GiB"})
    sized = with_flavor(ExpandedVm(flavor="small", vcpus=4), {"small": flavor})
    assert (sized.image, sized.vcpus, sized.memory, sized.disk) == ("cirros", 4, 2**28, 2**30)
    own = ExpandedVm(flavor="unknown", memory=Bytes(1))
    assert with_flavor(own, {"small": flavor}) is own
