from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from reconciler.spec.load import parse_slice
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.fields import Model, UpdatePolicy, update_policy
from reconciler.spec.models.slice import Endpoint, Link, Slice, Vm, VmDefaults


@pytest.mark.parametrize("model", [Slice, Vm, VmDefaults, Link])
def test_every_field_has_an_update_policy(model: type[Model]) -> None:
    assert model.model_fields
    for field in model.model_fields:
        assert isinstance(update_policy(model, field), UpdatePolicy)


def test_a_field_without_a_policy_is_named() -> None:
    with pytest.raises(LookupError, match=r"Cluster\.name has no update policy"):
        update_policy(Cluster, "name")


def test_short_and_long_links_are_the_same() -> None:
    text = "version: 1\nname: lab\nowner: admin\nlinks:\n  - [web:eth1, db]\n  - endpoints: [web:eth1, db]\n"
    short, long = parse_slice(text, "lab.yaml").slice.links
    assert short == long
    assert short.endpoints == (Endpoint("web", "eth1"), Endpoint("db"))
    assert (short.dhcp, short.gateway, short.subnet, short.mtu) == (True, True, None, 1500)


def test_every_setting_of_a_link() -> None:
    text = (
        "version: 1\nname: lab\nowner: admin\nlinks:\n"
        "  - {endpoints: [a, b], dhcp: false, gateway: false, subnet: 192.168.77.0/24, mtu: 9000}\n"
    )
    link = parse_slice(text, "lab.yaml").slice.links[0]
    assert (link.dhcp, link.gateway, link.subnet, link.mtu) == (False, False, IPv4Network("192.168.77.0/24"), 9000)


def test_a_slice_written_as_json_reads_back() -> None:
    text = "version: 1\nname: lab\nowner: admin\nlabels: {course: a}\nlinks: [[a, b]]\n"
    whole = parse_slice(text, "lab.yaml").slice.written
    assert Slice.model_validate(whole.model_dump(mode="json", exclude={"defaults", "groups", "vms"})).key == whole.key
