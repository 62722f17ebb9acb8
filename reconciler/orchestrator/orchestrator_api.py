"""OrchestratorAPI: checks who may call what, and turns calls into edits of slice files."""

from __future__ import annotations

from typing import Any

from reconciler import workflow
from reconciler.errors import SpecError
from reconciler.orchestrator import slice_text
from reconciler.orchestrator.answers import Answer, Refused, returns_answer
from reconciler.orchestrator.database import Database
from reconciler.orchestrator.deployment_api import DeploymentAPI
from reconciler.orchestrator.effective_cluster import next_worker, with_workers
from reconciler.orchestrator.slice_edit import SliceEdit, editing
from reconciler.orchestrator.usage import find_slice, owner
from reconciler.orchestrator.views import (
    LinkDict,
    SliceDict,
    State,
    VmDict,
    link_dict,
    slice_dict,
    slice_state,
    vm_dict,
)
from reconciler.orchestrator.vlan_manager import VLANManager
from reconciler.orchestrator.vm_launcher import VMLauncher
from reconciler.plan.graph import ends
from reconciler.plan.snapshot import SliceAllocation
from reconciler.spec.load import parse_slice
from reconciler.spec.models.names import LinkKey, SliceKey, VmName, link_key, slice_key


class OrchestratorAPI:
    """Slices from creation to deletion; safe for concurrent threads and processes.

    Every call except `get_next_worker` returns `(True, result)` or `(False, message)`, and never raises.
    """

    def __init__(self, db: Database, deployment_api: DeploymentAPI) -> None:
        self.db = db
        self.deployment_api = deployment_api
        self.executor = deployment_api.executor
        self.vm_launcher = VMLauncher(self.executor)
        self.vlan_manager = VLANManager(self.executor)

    @returns_answer
    def create_slice(self, username: str, slice_name: str, topology_type: str = "custom") -> dict[str, Any]:
        """Create a slice of a user: its file, its id and its VLAN pool; returns `{"slice_id": ..., "name": ...}`."""
        self._check_user(username)
        text = slice_text.new_slice(username, slice_name, topology_type)
        key = _checked_name(text)
        slices = self.executor.slices
        with slices.locked(key):
            if key in self.executor.snapshot().allocations or slices.find(key) is not None:
                raise Refused(f"Slice {slice_name} already exists")
            edit = SliceEdit(self.executor, key, slices.place(key), self.db)
            edit.create(text)
            return {"slice_id": int(edit.snapshot().allocations[key].id), "name": slice_name}

    @returns_answer
    def add_vm_to_slice(
        self,
        username: str,
        slice_id: int,
        vm_name: str,
        flavor_name: str,
        data_interfaces_count: int,
        internet_enabled: bool = False,
    ) -> VmDict:
        """Add a VM with its own overlay, on the worker whose turn it is; in a running slice, the VM is started."""
        key = self._owned(username, slice_id)
        with editing(self.db, self.executor, key) as edit:
            cluster, written = edit.files()
            if flavor_name not in cluster.flavors:
                raise Refused(Answer.INVALID_FLAVOR)
            if vm_name in written.vms:
                raise Refused(f"VM {vm_name} already exists")
            settings: dict[str, Any] = {"flavor": flavor_name, "interfaces": data_interfaces_count}
            if internet_enabled:
                settings["internet"] = True
            edit.change(slice_text.add_vm(_text(edit), vm_name, settings))
            return vm_dict(*edit.files(), edit.snapshot(), VmName(vm_name))

    @returns_answer
    def create_link(
        self, username: str, slice_id: int, vm1_id: int, vm1_interface: str, vm2_id: int, vm2_interface: str
    ) -> LinkDict:
        """Link two interfaces by the next VLAN of the slice's pool; in a running slice, at once."""
        key = self._owned(username, slice_id)
        with editing(self.db, self.executor, key) as edit:
            given = edit.snapshot().allocations[key]
            cluster, written = edit.files()
            if len(written.links) >= (written.vlans or cluster.vlans.per_slice):
                raise Refused(Answer.POOL_EXHAUSTED)
            one, other = _free_end(given, vm1_id, vm1_interface), _free_end(given, vm2_id, vm2_interface)
            edit.change(slice_text.add_link(_text(edit), one, other))
            return link_dict(edit.snapshot().allocations[key], LinkKey(link_key(one, other)), first=one)

    @returns_answer
    def deploy_slice(self, username: str, slice_id: int) -> str:
        """Start everything of a slice; what an earlier deploy has left unfinished is completed."""
        key = self._owned(username, slice_id)
        with editing(self.db, self.executor, key) as edit:
            if slice_state(edit.snapshot(), key) is State.RUNNING:
                raise Refused(Answer.ALREADY_RUNNING)
            edit.apply()
        return Answer.DEPLOYED.value

    @returns_answer
    def delete_slice(self, username: str, slice_id: int) -> str:
        """Delete a slice in any condition, and its file; it counts until its deletion is confirmed."""
        with self.executor.slices.locked(self._owned(username, slice_id)):
            key = self._owned(username, slice_id)  # another call may have been first
            asked = workflow.Asked(destroy=(key,))
            try:
                self.executor.apply(self.executor.inputs(), asked, lambda _: None)
                if (path := self.executor.slices.find(key)) is not None:
                    path.unlink()
            finally:
                with self.db.locked():
                    self.db.update_from(self.executor.snapshot())
        return Answer.DELETED.value

    @returns_answer
    def get_slice(self, username: str, slice_id: int) -> SliceDict:
        """Return a slice as its file and the state have it; the imperative system had this in its database."""
        key = self._owned(username, slice_id)
        with editing(self.db, self.executor, key) as edit:
            return slice_dict(*edit.files(), edit.snapshot())

    def get_next_worker(self) -> str:
        """Take the turn, and return the address of its worker; raises UsageError if no worker is with_workers."""
        cluster = with_workers(self.executor.cluster(), self.db.workers_list)
        with self.executor.open_state() as store:
            turn = store.take_turn(lambda turn: next_worker(cluster, turn)[1])
        return next_worker(cluster, turn)[0]

    def _check_user(self, username: str) -> None:
        if self.db.user(username) is None:
            raise Refused(Answer.USER_NOT_FOUND)

    def _owned(self, username: str, slice_id: int) -> SliceKey:
        """Return the slice with an id; raises Refused if user or slice do not exist, or the owner is another user."""
        self._check_user(username)
        key = find_slice(self.executor.snapshot(), slice_id)
        if key is None:
            raise Refused(Answer.SLICE_NOT_FOUND)
        if owner(key) != username:
            raise Refused(Answer.NOT_AUTHORIZED)
        return key


def _text(edit: SliceEdit) -> str:
    return edit.path.read_text(encoding="utf-8")


def _checked_name(text: str) -> SliceKey:
    """Return the key of a new slice; raises Refused if its name or its owner's name is not valid."""
    try:
        written = parse_slice(text, "").slice
    except SpecError as error:
        first = error.found[0]
        raise Refused(f"{first.summary}{f' ({first.hint})' if first.hint else ''}") from None
    return slice_key(written.owner, written.name)


def _free_end(given: SliceAllocation, vm_id: int, interface: str) -> str:
    """Return an end of a link as slice files write it.

    Raises Refused if the slice has no such VM, or the VM has no such NIC, or the NIC has a link.
    """
    name = next((name for name, vm in given.vms.items() if vm.id == vm_id), None)
    if name is None:
        raise Refused(f"VM {vm_id} not found")
    nics = [f"eth{nic}" for nic in range(1, given.vms[name].nics)]
    if interface not in nics:
        has = f"its data interfaces are {', '.join(nics)}" if nics else "it has no data interfaces"
        raise Refused(f"Interface {interface} of {name} cannot be linked: {has}")
    if (name, int(interface.removeprefix("eth"))) in {end for key in given.links for end in ends(key)}:
        raise Refused(f"Interface {interface} of {name} already has a link")
    return f"{name}:{interface}"
