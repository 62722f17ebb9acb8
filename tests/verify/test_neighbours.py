"""Every NIC with an address is probed at its own router, and only its own MAC may reply."""

from __future__ import annotations

from reconciler.plan.resources import StationRole
from reconciler.verify.declared import declare
from reconciler.verify.neighbours import check_replies, neighbours
from reconciler.verify.verification import Probed, Verification
from tests.plan.examples import LAB1, LAB2, lab, plan

PAIR = lab(("a", "b", "c"), [["a", "b"], {"endpoints": ["b", "c"], "dhcp": False}])
OTHERS = lab({"d": {"internet": True}, "e": {}}, [["d", "e"]], key=LAB2)
DECLARED = declare(change.after for change in plan(PAIR, OTHERS).changes if change.after is not None)
ASKED = neighbours(DECLARED)


def test_nics_with_an_address_are_probed_at_their_router() -> None:
    found = {(one.port.removeprefix("port/"), one.namespace, one.interface, one.router, one.ip) for one in ASKED}
    assert found == {
        ("alice/lab1/a:eth1", "slice-1000", "seg100", "192.168.100.1", "192.168.100.2"),
        ("alice/lab1/b:eth1", "slice-1000", "seg100", "192.168.100.1", "192.168.100.3"),
        ("bob/lab2/d:eth1", "slice-1001", "seg120", "192.168.120.1", "192.168.120.2"),
        ("bob/lab2/e:eth1", "slice-1001", "seg120", "192.168.120.1", "192.168.120.3"),
        ("bob/lab2/d:eth0", "", "inet400", "10.60.7.1", "10.60.7.2"),
    }
    ports = {where: one for where, one in DECLARED.stations.items() if one.role is StationRole.GUEST}
    assert all(one.mac == ports[one.port].mac for one in ASKED)
    assert len(neighbours(DECLARED, {LAB1})) == 2


def test_every_nic_must_reply_and_no_other_mac_may() -> None:
    right = {one: frozenset({one.mac}) for one in ASKED}
    assert check_replies(ASKED, right) == (Probed(5, ()), ())
    first, second, third = ASKED[:3]
    other = "02:00:00:00:00:77"
    probed, strange = check_replies(
        ASKED, right | {first: frozenset(), second: frozenset({other, second.mac}), third: frozenset({other})}
    )
    assert probed == Probed(2, (f"{first.port} ({first.ip})",))
    assert [one.ends for one in strange] == [(second.port, other), (third.port, other)]
    assert str(strange[0]).startswith(
        f"impostor: {other} replies for {second.ip}, the address of {second.port} (an ARP request"
    )


def test_a_silent_guest_is_not_a_violation_and_not_verified() -> None:
    assert Verification(1, 1, 1, ()).verified
    assert Verification(1, 1, 1, (), probed=Probed(1, ())).verified
    assert not Verification(1, 1, 1, (), probed=Probed(1, ("port/a",))).verified
