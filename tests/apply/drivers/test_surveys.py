"""Surveys find all that drivers made, without being told of it, as resources that they can remove."""

from __future__ import annotations

import pytest

from reconciler.apply.drivers.driver import Found, Survey, SurveyTarget
from reconciler.apply.drivers.ownership import slice_of
from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.transport.command import Result
from reconciler.errors import HostError
from reconciler.plan.resources import KINDS, ROOT, Resource
from tests.apply.drivers.realhost import RealHost, real_host
from tests.apply.drivers.sample import BASE, EVERYTHING, HOST
from tests.apply.drivers.test_hostile import NONSENSE

PREMISES = SurveyTarget(HOST, "br-int")
# What other hands may leave that looks like ours: names that lead elsewhere, tags of no kind, files that are none.
_CLUTTER = f"""
mkdir -p {ROOT}/vms/odd {ROOT}/images/odd.owner {ROOT}/routers/odd/conf.d
echo 'disk/../../etc passwd' > {ROOT}/vms/odd/a.owner
printf 'disk/x/y/z\\n' > "$(printf '{ROOT}/vms/odd/b\\n.owner')"
touch {ROOT}/vms/odd/serial.log {ROOT}/routers/odd/conf.d/odd.conf {ROOT}/images/empty.owner
ovs-vsctl add-port br-int odd external_ids:reconciler=song/of/songs -- set Interface odd type=internal
ip tuntap add dev odd2 mode tap
ip link set dev odd2 alias 'port/a b'
"""


def survey_of(noun: type[Resource]) -> Survey[Resource]:
    survey = DRIVERS[noun.kind].survey
    assert survey is not None, f"nobody finds a {noun.kind} that is not on record"
    return survey


def surveyed(host: RealHost) -> list[Found]:
    """Survey every kind, what others stand on last."""
    found: list[Found] = []
    for noun in reversed([*KINDS.values()]):
        survey = survey_of(noun)
        found += survey.parse(PREMISES, [host.run(command) for command in survey.commands])
    return found


def spot(resource: Resource) -> tuple[str, str]:
    return resource.address, survey_of(type(resource)).thing(resource)


@pytest.mark.lab
def test_all_that_was_made_is_found_and_can_be_removed() -> None:
    with real_host() as host:
        (host.uploads / "base").write_bytes(BASE)
        host.sh(_CLUTTER)
        assert surveyed(host) == []
        for resource in EVERYTHING:
            fact = host.probe(DRIVERS[resource.kind], [resource])[resource.address]
            host.perform(DRIVERS[resource.kind].ensure(resource, fact, None))

        found = surveyed(host)
        assert {spot(one.resource) for one in found} == {spot(one) for one in EVERYTHING}
        assert len(found) == len(EVERYTHING)
        by_spot = {spot(one): one for one in EVERYTHING}
        assert all(one.resource.slice == by_spot[spot(one.resource)].slice for one in found)
        assert [(one, other.mark) for one, other in zip(found, surveyed(host), strict=True)] == [
            (one, one.mark) for one in found
        ]

        for one in found:
            driver = DRIVERS[one.resource.kind]
            host.perform(driver.remove(one.resource, host.probe(driver, [one.resource])[one.resource.address]))
        assert surveyed(host) == []
        assert "odd2" in host.sh("ip -br link")


@pytest.mark.lab
def test_halves_of_things_are_found_too() -> None:
    with real_host() as host:
        (host.uploads / "base").write_bytes(BASE)
        for resource in EVERYTHING:
            fact = host.probe(DRIVERS[resource.kind], [resource])[resource.address]
            host.perform(DRIVERS[resource.kind].ensure(resource, fact, None))
        host.sh(f"kill -KILL $(cat {ROOT}/vms/1001/qemu.pid); rm {ROOT}/vms/1001/web_img.qcow2")
        host.sh("ip link delete dev tap1001-0; ovs-vsctl del-port tap1001-1; ip netns delete slice-1000")
        assert {spot(one.resource) for one in surveyed(host)} == {spot(one) for one in EVERYTHING}
        for one in surveyed(host):
            driver = DRIVERS[one.resource.kind]
            host.perform(driver.remove(one.resource, host.probe(driver, [one.resource])[one.resource.address]))
        assert surveyed(host) == []
        assert host.sh(f"find {ROOT} ! -type d ! -name lock ! -path '*/flows/*'") == ""


@pytest.mark.parametrize("noun", KINDS.values(), ids=lambda noun: noun.kind)
@pytest.mark.parametrize("text", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_an_error_or_nothing_of_ours(noun: type[Resource], text: str) -> None:
    survey = survey_of(noun)
    try:
        found = list(survey.parse(PREMISES, [Result(0, text)] * len(survey.commands)))
    except (HostError, ValueError, LookupError, TypeError):
        return
    assert found == []


@pytest.mark.parametrize("noun", KINDS.values(), ids=lambda noun: noun.kind)
def test_a_survey_that_fails_is_an_error_in_the_hosts_own_words(noun: type[Resource]) -> None:
    survey = survey_of(noun)
    with pytest.raises(HostError, match=r"^worker1: sh: 1: find: not found$"):
        list(survey.parse(PREMISES, [Result(1, "sh: 1: find: not found\n")] * len(survey.commands)))


def test_an_address_says_whose_it_is() -> None:
    for resource in EVERYTHING:
        if resource.slice is not None or resource.kind in {"image", "uplink"}:
            assert slice_of(type(resource), resource.address) == resource.slice
