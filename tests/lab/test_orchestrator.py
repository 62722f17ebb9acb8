"""Calls on the lab: what they refuse, roll back and leave, together with files and plans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.orchestrator import OrchestratorAPI
from reconciler.spec.models.names import SliceKey
from tests.lab.calls import done, orchestrator, refused
from tests.lab.census import census, settled
from tests.lab.site import EXAMPLES, Site, on_host

pytestmark = pytest.mark.lab

LAB = SliceKey("admin/lab")


@pytest.fixture
def api(site: Site, tmp_path: Path) -> OrchestratorAPI:
    """Give an orchestrator on the shared lab, with a folder of its own."""
    return orchestrator(tmp_path, site.cluster, site.state)


def begun(api: OrchestratorAPI, *, vms: int = 2, cards: int = 1) -> tuple[int, list[int]]:
    """Create admin's slice lab with some VMs; returns its id and theirs."""
    slice_id: int = done(api.create_slice("admin", "lab"))["slice_id"]
    names = [f"vm{number}" for number in range(1, vms + 1)]
    return slice_id, [done(api.add_vm_to_slice("admin", slice_id, name, "cirros", cards))["vm_id"] for name in names]


def used(api: OrchestratorAPI) -> tuple[list[int], int]:
    """Return what the database says that admin has: slices, and how many VMs."""
    user = api.db.user("admin")
    assert user is not None
    return user.slices, user.used_vms


def test_refusals_have_the_messages_of_the_imperative_system(site: Site, api: OrchestratorAPI) -> None:
    slice_id, (one, other) = begun(api)
    assert api.create_slice("nobody", "x") == (False, "User not found")
    assert api.add_vm_to_slice("nobody", slice_id, "vm3", "cirros", 1) == (False, "User not found")
    assert api.add_vm_to_slice("admin", 999, "vm3", "cirros", 1) == (False, "Slice not found")
    text = api.db.path.read_text().replace("users:\n", "users:\n  alice: {}\n")
    api.db.path.write_text(text)
    for answer in (
        api.add_vm_to_slice("alice", slice_id, "vm3", "cirros", 1),
        api.create_link("alice", slice_id, one, "eth1", other, "eth1"),
        api.deploy_slice("alice", slice_id),
        api.delete_slice("alice", slice_id),
    ):
        assert answer == (False, "Not authorized")
    assert api.add_vm_to_slice("admin", slice_id, "vm3", "huge", 1) == (False, "Invalid flavor")
    assert api.create_link("admin", slice_id, one, "eth2", other, "eth1") == (
        False, "Interface eth2 of vm1 cannot be linked: its data interfaces are eth1"
    )  # fmt: skip
    assert api.create_link("admin", slice_id, one, "eth1", 77, "eth1") == (False, "VM 77 not found")
    api.db.path.write_text(text.replace("vms: 50", "vms: 2"))
    assert api.add_vm_to_slice("admin", slice_id, "vm3", "cirros", 1) == (False, "Quota exceeded")
    planned = site.run("plan", "--detailed-exitcode", api.executor.slices.path)
    assert planned.code == 2, "the file says already what a deploy would do"
    assert api.deploy_slice("admin", slice_id) == (True, "Slice deployed successfully")
    assert api.deploy_slice("admin", slice_id) == (False, "Slice is already running")
    site.in_sync(api.executor.slices.path)


def test_the_21st_link_exhausts_the_pool(api: OrchestratorAPI) -> None:
    slice_id, (one, other) = begun(api, cards=21)
    links = [api.create_link("admin", slice_id, one, f"eth{card}", other, f"eth{card}") for card in range(1, 22)]
    assert [(done(link)["vlan_id"], done(link)["link_id"]) for link in links[:20]] == [
        (100 + number, 1 + number) for number in range(20)
    ]
    assert links[20] == (False, "VLAN pool exhausted")
    assert len(done(api.get_slice("admin", slice_id))["links"]) == 20


def test_a_vm_without_an_overlay_is_rolled_back(site: Site, api: OrchestratorAPI) -> None:
    slice_id, _ = begun(api, vms=1)
    file = api.executor.slices.place(LAB)
    before = file.read_text()
    place = "/var/lib/reconciler/vms/1002"
    on_host(site.lab, "worker2", f"mkdir -p {place}; echo precious > {place}/vm2_img.qcow2")
    assert f"{place}/vm2_img.qcow2" in refused(api.add_vm_to_slice("admin", slice_id, "vm2", "cirros", 1))
    assert file.read_text() == before
    assert used(api) == ([slice_id], 1)
    assert on_host(site.lab, "worker2", f"cat {place}/vm2_img.qcow2; rm -r {place}") == "precious"
    again = done(api.add_vm_to_slice("admin", slice_id, "vm2", "cirros", 1))
    assert again["vm_id"] > 1002, "an id is never given twice"


def test_a_failed_deploy_is_deleted_completely(site: Site, api: OrchestratorAPI) -> None:
    before = census(site.lab)
    slice_id, (one, other) = begun(api)
    done(api.create_link("admin", slice_id, one, "eth1", other, "eth1"))
    tap = f"tap{other}-1"
    on_host(site.lab, "worker2", f"ip tuntap add dev {tap} mode tap")
    assert tap in refused(api.deploy_slice("admin", slice_id))
    assert done(api.get_slice("admin", slice_id))["status"] == "design"
    on_host(site.lab, "worker2", f"ip link delete {tap}")
    assert api.delete_slice("admin", slice_id) == (True, "Slice deleted")
    assert settled(site.lab, before) == []
    assert site.slices() == []
    assert used(api) == ([], 0)
    assert json.loads(site.do("drift", "--json").out)["orphans"] == []


def test_a_failed_deploy_is_completed_by_the_next(site: Site, api: OrchestratorAPI) -> None:
    slice_id, (_, other) = begun(api)
    tap = f"tap{other}-1"
    on_host(site.lab, "worker2", f"ip tuntap add dev {tap} mode tap")
    refused(api.deploy_slice("admin", slice_id))
    on_host(site.lab, "worker2", f"ip link delete {tap}")
    assert api.deploy_slice("admin", slice_id) == (True, "Slice deployed successfully")
    site.in_sync(api.executor.slices.path)


def test_a_slice_that_was_applied_from_a_file_is_continued(site: Site, api: OrchestratorAPI, tmp_path: Path) -> None:
    file = tmp_path / "slices" / "mine.yaml"
    file.parent.mkdir()
    file.write_text("# Kept as it is.\n" + (EXAMPLES / "two-vms.yaml").read_text())
    site.apply(file)
    slice_id = site.show("two-vms")["id"]
    before = {name: vm.pid for name, vm in site.vms("two-vms").items()}
    third = done(api.add_vm_to_slice("admin", slice_id, "third", "cirros", 2))
    assert third["status"] == "running", "the slice runs, and so does what is added to it"
    fourth = done(api.add_vm_to_slice("admin", slice_id, "fourth", "cirros", 1))
    link = done(api.create_link("admin", slice_id, third["vm_id"], "eth2", fourth["vm_id"], "eth1"))
    assert link["vlan_id"] == 101
    site.in_sync(file)
    vms = site.vms("two-vms")
    assert {name: vms[name].pid for name in before} == before, "nothing restarts for it"
    assert file.read_text().startswith("# Kept as it is.\n")
    site.do("verify")


def test_a_file_edited_by_hand_is_not_applied_without_approval(site: Site, api: OrchestratorAPI) -> None:
    slice_id, _ = begun(api)
    done(api.deploy_slice("admin", slice_id))
    file = api.executor.slices.place(LAB)
    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if "vm2" not in line))
    words = refused(api.add_vm_to_slice("admin", slice_id, "vm3", "cirros", 1))
    assert "would destroy" in words
    assert "vm/admin/lab/vm2" in words
    assert set(site.vms("lab")) == {"vm1", "vm2"}


def test_one_vm_and_one_vlan_by_hand(site: Site, api: OrchestratorAPI) -> None:
    slice_id, (one, other) = begun(api)
    link = done(api.create_link("admin", slice_id, one, "eth1", other, "eth1"))
    first, second = done(api.get_slice("admin", slice_id))["vms"]
    launcher, vlans = api.vm_launcher, api.vlan_manager
    assert vlans.create_vlan_with_gateway(link["vlan_id"], "192.168.100.0/24", "192.168.100.1") == (
        True, "VLAN 100 configured"
    )  # fmt: skip
    assert "VLAN 100 has" in refused(vlans.create_vlan_with_gateway(link["vlan_id"], "192.168.1.0/24", "192.168.1.1"))
    unknown = vlans.create_vlan_with_gateway(77, "192.168.77.0/24", "192.168.77.1")
    assert unknown == (False, "VLAN 77 belongs to no link")
    assert "has no uplink" in refused(vlans.enable_internet_for_vlan(100, "192.168.100.0/24"))
    assert done(launcher.launch_vm(first["worker_ip"], first)) == site.vms("lab")["vm1"].pid
    assert launcher.launch_vm("10.0.10.3", second) == (False, "VM vm2 is on 10.0.10.2, not on 10.0.10.3")
    assert site.vms("lab")["vm2"].data["status"] == "missing"
    assert api.deployment_api.delete_vm_dict(first) == (False, "VM vm1 is running: stop it first")
    assert launcher.stop_vm(first["worker_ip"], first) == (True, "VM stopped")
    assert "qemu" not in on_host(site.lab, "worker1", f"ls /var/lib/reconciler/vms/{one}")
    assert vlans.delete_vlan(100) == (True, "VLAN 100 deleted")
    assert "seg100" not in on_host(site.lab, "gateway", "ovs-vsctl list-ports br-int")
    assert api.deployment_api.delete_vm_dict(first) == (True, "VM deleted")
    assert on_host(site.lab, "worker1", "ls /var/lib/reconciler/vms") == ""
    assert api.deploy_slice("admin", slice_id) == (True, "Slice deployed successfully")
    site.in_sync(api.executor.slices.path)
