"""`drift` finds what was broken by hand, one `apply` repairs it, and then there is no drift; all on one slice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.cli.running import on_terminal
from tests.lab.site import Site, Vm, on_host

pytestmark = [pytest.mark.lab, pytest.mark.guests]

ADRIFT = """
version: 1
name: adrift
owner: admin
defaults: {flavor: cirros}
vms:
  a: {worker: worker1}
  b: {worker: worker2}
links:
  - [a, b]
"""
DRIFTED = 2


def monitor(site: Site, vm: Vm, *commands: str) -> str:
    """Send commands to a VM's monitor, as its worker's root can, and return the answers."""
    send = " ".join(f'syswrite($m, q({{"execute": "{one}"}})); sysread($m, $a, 9999); $all .= $a;' for one in commands)
    text = f"""perl -MSocket -e 'socket($m, PF_UNIX, SOCK_STREAM, 0);
        connect($m, sockaddr_un("/var/lib/reconciler/vms/{vm.data["id"]}/qmp.sock")) or die "$!";
        sysread($m, $all, 9999); {send} select(undef, undef, undef, 0.2); print $all'"""
    return on_host(site.lab, vm.worker, text)


@dataclass(frozen=True)
class Afloat:
    """The slice that every test breaks, and finds whole."""

    site: Site
    vms: dict[str, Vm]

    @property
    def a(self) -> Vm:
        return self.vms["a"]

    @property
    def b(self) -> Vm:
        return self.vms["b"]

    @property
    def tap(self) -> str:
        """The TAP of a's end of the link."""
        return str(self.a.nics["eth1"]["tap"])

    @property
    def router(self) -> str:
        """The directory of the slice's router."""
        return on_host(self.site.lab, "gateway", f"dirname $(grep -lx router/{SLICE} {ROUTERS}/*/owner)")

    def sh(self, host: str, script: str) -> str:
        return on_host(self.site.lab, host, script)

    def apply(self, *options: str) -> str:
        """Apply the slice's file, which must succeed, and return what was printed."""
        return self.site.do("apply", "--auto-approve", *options, self.site.folder / "adrift.yaml").out

    def drift(self) -> str:
        """Return what `drift` prints, which must be something."""
        done = self.site.run("drift")
        assert done.code == DRIFTED, done.told
        return done.out

    def whole(self, *, carries: bool = True) -> None:
        """See that there is no drift, and that the link carries what it is given."""
        self.site.do("drift")
        if carries:
            self.a.guest.wait_for_shell()
            self.b.guest.wait_for_shell()
            assert self.a.pings_within(20, self.b.ip("eth1"))


SLICE = "admin/adrift"
ROUTERS = "/var/lib/reconciler/routers"


@pytest.fixture(scope="module")
def afloat(module_site: Site) -> Afloat:
    module_site.apply(module_site.write(ADRIFT))
    vms = module_site.vms("adrift")
    for vm in vms.values():
        vm.settle()
    return Afloat(module_site, vms)


def kill_qemu(afloat: Afloat) -> None:
    afloat.sh("worker1", f"kill -KILL {afloat.a.pid}; while [ -e /proc/{afloat.a.pid} ]; do sleep 0.02; done")


def delete_tap(afloat: Afloat) -> None:
    afloat.sh("worker1", f"ip link delete dev {afloat.tap}")


def change_tag(afloat: Afloat) -> None:
    afloat.sh("worker1", f"ovs-vsctl set Port {afloat.tap} tag=77")


def remove_flows(afloat: Afloat) -> None:
    afloat.sh("worker1", f"ovs-ofctl --names del-flows br-int in_port={afloat.tap}")


def kill_dnsmasq(afloat: Afloat) -> None:
    afloat.sh("gateway", f"kill -KILL $(cat {afloat.router}/dnsmasq.pid)")


def delete_namespace(afloat: Afloat) -> None:
    afloat.sh("gateway", f"ip netns delete $(basename {afloat.router})")


def take_trunk_port_off(afloat: Afloat) -> None:
    afloat.sh("worker1", "ovs-vsctl del-port br-int ens4")


@pytest.mark.parametrize(
    ("breaking", "seen"),
    [
        (kill_qemu, [r"missing: vm/admin/adrift/a on worker1"]),
        (delete_tap, [r"missing: port/admin/adrift/a:eth1 on worker1"]),
        (change_tag, [r"changed: port/admin/adrift/a:eth1 on worker1", r"  vlan = \d+ -> 77"]),
        (remove_flows, [r"changed: port/admin/adrift/a:eth1 on worker1", r"  mac = 52:54:\S+ -> none"]),
        (kill_dnsmasq, [r"missing: router/admin/adrift on gateway"]),
        (
            delete_namespace,
            [
                r"missing: router/admin/adrift on gateway",
                r"changed: segment/admin/adrift/a:eth1--b:eth1 on gateway",
                r"  namespace = slice-\d+ -> none",
            ],
        ),
        (take_trunk_port_off, [r"missing: trunk/admin/adrift@worker1 on worker1"]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_was_broken_is_found_and_repaired(
    afloat: Afloat, breaking: Callable[[Afloat], None], seen: list[str]
) -> None:
    breaking(afloat)
    told = afloat.drift().splitlines()
    assert [pattern for pattern in seen if not any(re.fullmatch(pattern, line) for line in told)] == [], told
    afloat.apply()
    afloat.whole(carries=breaking not in {kill_qemu, remove_flows})
    if breaking in {kill_dnsmasq, delete_namespace}:
        served = afloat.a.guest.run("udhcpc -n -q -t 5 -i eth1 2>&1", check=False)
        assert f"lease of {afloat.a.ip('eth1')} obtained" in served


def test_a_paused_guest_is_drift_and_goes_on_without_a_restart(afloat: Afloat) -> None:
    pid = afloat.a.pid
    monitor(afloat.site, afloat.a, "qmp_capabilities", "stop")
    told = afloat.drift()
    assert re.search(r"^changed: vm/admin/adrift/a on worker1\n  run_state = running -> paused$", told, re.MULTILINE), (
        told
    )
    shown = json.loads(afloat.site.do("show", "--refresh", "adrift", "--json").out)
    assert {vm["name"]: vm["health"] for vm in shown["vms"]} == {"a": "paused", "b": "healthy"}
    assert "paused" in afloat.site.do("show", "--refresh", "adrift").out
    assert json.loads(afloat.site.do("show", "adrift", "--json").out)["vms"][0]["health"] is None

    assert "0 destroyed" in afloat.apply()
    assert '"status": "running"' in monitor(afloat.site, afloat.a, "qmp_capabilities", "query-status")
    assert afloat.a.pid == pid
    afloat.whole()


def test_an_apply_without_refresh_trusts_the_state(afloat: Afloat) -> None:
    change_tag(afloat)
    assert "No changes." in afloat.apply("--no-refresh")
    done = afloat.site.run("drift", "--json")
    assert done.code == DRIFTED
    (drift,) = json.loads(done.out)["resource_drift"]
    assert (drift["address"], drift["host"], drift["kind"]) == ("port/admin/adrift/a:eth1", "worker1", "changed")
    assert [(item["name"], item["observed"]) for item in drift["attributes"]] == [("vlan", 77)]
    assert "vlan = 77 -> " in afloat.apply("--refresh")
    afloat.whole(carries=False)


def test_a_changed_image_is_restored_and_overlays_stay(afloat: Afloat) -> None:
    where = afloat.sh("worker2", f"sed -n 2p {disk_of(afloat.b)}.owner")
    before = afloat.sh("worker2", f"sha256sum {where}; stat -c %i {disk_of(afloat.b)}")
    pid = afloat.b.pid
    afloat.sh("worker2", f"cp {where} {where}.other; echo more >> {where}.other; mv {where}.other {where}")

    told = afloat.drift()
    assert re.search(r"^changed: image/\S+@worker2 on worker2\n  sha256 = [0-9a-f]{64} -> not verified\n", told)
    done = afloat.apply()
    assert "! vm/admin/adrift/b  # unchanged, but may have read image/" in done
    assert afloat.sh("worker2", f"sha256sum {where}; stat -c %i {disk_of(afloat.b)}") == before
    assert afloat.b.pid == pid
    afloat.whole(carries=False)


def disk_of(vm: Vm) -> str:
    return f"/var/lib/reconciler/vms/{vm.data['id']}/{vm.data['name']}_img.qcow2"


def test_an_overlay_is_created_again_only_if_its_loss_is_accepted(afloat: Afloat) -> None:
    disk, path = disk_of(afloat.b), afloat.site.folder / "adrift.yaml"
    afloat.sh("worker2", f"rm {disk}")
    assert "missing: disk/admin/adrift/b on worker2" in afloat.drift()
    words = "disk/admin/adrift/b on worker2  # create: overlay missing: its data is gone; a new, empty disk is made"
    planned = afloat.site.do("plan", "--refresh", path).out
    assert words in planned
    assert "1 VM loses its data." in planned.splitlines()[-1]

    refused = afloat.site.run("apply", "--auto-approve", path)
    assert refused.code == 1, refused.told
    assert "error[data-loss]: 1 VM loses its data, and nobody asked for that: disk/admin/adrift/b on" in refused.err
    assert "--accept-data-loss" in refused.err
    options = ["--cluster", str(afloat.site.cluster), "--state", str(afloat.site.folder / "state.db")]
    asked = on_terminal(["apply", *options, str(path)], until="Do this? [y/N]: ", keys=b"y\nn\n")
    assert asked.code == 1, asked.out
    assert "Continue although 1 VM loses its data? [y/N]: " in asked.out
    assert asked.out.endswith("Nothing was changed.\n")
    assert afloat.sh("worker2", f"[ ! -e {disk} ] && cat {disk}.owner | head -n 1") == "disk/admin/adrift/b"

    pid = afloat.b.pid
    afloat.apply("--accept-data-loss")
    assert afloat.b.pid != pid
    afloat.whole()
