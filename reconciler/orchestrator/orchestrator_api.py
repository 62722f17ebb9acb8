"""OrchestratorAPI: who may call what, and what a call makes of a slice's file; edit.py has record and hosts follow."""

from __future__ import annotations

from typing import Any

from reconciler import workflow
from reconciler.errors import SpecError
from reconciler.orchestrator import answers, slice_text
from reconciler.orchestrator.answers import Refused, answered
from reconciler.orchestrator.cluster_view import listed, next_in
from reconciler.orchestrator.database import Database
from reconciler.orchestrator.deployment_api import DeploymentAPI
from reconciler.orchestrator.edit import SliceEdit, edited
from reconciler.orchestrator.tally import find_slice, owner
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
    """Slices from creation to deletion, for threads and processes at once.

    Every call but `get_next_worker` answers `(True, result)` or `(False, sentence)`; none raises.
    """

    def __init__(self, db: Database, deployment_api: DeploymentAPI) -> None:
        self.db = db
        self.deployment_api = deployment_api
        self.executor = deployment_api.executor
        self.vm_launcher = VMLauncher(self.executor)
        self.vlan_manager = VLANManager(self.executor)

    @answered
    def create_slice(self, username: str, slice_name: str, topology_type: str = "custom") -> dict[str, Any]:
        """Begin a slice of a user: its file, its id and its VLAN pool; returns `{"slice_id": ..., "name": ...}`."""
        self._check_user(username)
        text = slice_text.begin(username, slice_name, topology_type)
        key = _checked_name(text)
        slices = self.executor.slices
        with slices.locked(key):
            if key in self.executor.recorded().allocations or slices.find(key) is not None:
                raise Refused(f"Slice {slice_name} exists already")
            edit = SliceEdit(self.executor, key, slices.place(key), self.db)
            edit.begin(text)
            return {"slice_id": int(edit.recorded().allocations[key].id), "name": slice_name}

    @answered
    def add_vm_to_slice(
        self,
        username: str,
        slice_id: int,
        vm_name: str,
        flavor_name: str,
        data_interfaces_count: int,
        internet_enabled: bool = False,
    ) -> VmDict:
        """Add a VM, with an overlay of its own on the worker whose turn it is; in a slice that runs, it is started."""
        key = self._owned(username, slice_id)
        with edited(self.db, self.executor, key) as edit:
            cluster, written = edit.files()
            if flavor_name not in cluster.flavors:
                raise Refused(answers.INVALID_FLAVOR)
            if vm_name in written.vms:
                raise Refused(f"VM {vm_name} exists already")
            settings: dict[str, Any] = {"flavor": flavor_name, "interfaces": data_interfaces_count}
            if internet_enabled:
                settings["internet"] = True
            edit.change(slice_text.add_vm(_text(edit), vm_name, settings))
            return vm_dict(*edit.files(), edit.recorded(), VmName(vm_name))

    @answered
    def create_link(
        self, username: str, slice_id: int, vm1_id: int, vm1_interface: str, vm2_id: int, vm2_interface: str
    ) -> LinkDict:
        """Link two interfaces by the next VLAN of the slice's pool; in a slice that runs, at once."""
        key = self._owned(username, slice_id)
        with edited(self.db, self.executor, key) as edit:
            given = edit.recorded().allocations[key]
            cluster, written = edit.files()
            if len(written.links) >= (written.vlans or cluster.vlans.per_slice):
                raise Refused(answers.POOL_EXHAUSTED)
            one, other = _free_end(given, vm1_id, vm1_interface), _free_end(given, vm2_id, vm2_interface)
            edit.change(slice_text.add_link(_text(edit), one, other))
            return link_dict(edit.recorded().allocations[key], LinkKey(link_key(one, other)), first=one)

    @answered
    def deploy_slice(self, username: str, slice_id: int) -> str:
        """Have everything of a slice run; what an earlier deploy has left half-done is completed."""
        key = self._owned(username, slice_id)
        with edited(self.db, self.executor, key) as edit:
            if slice_state(edit.recorded(), key) is State.RUNNING:
                raise Refused(answers.ALREADY_RUNNING)
            edit.follow()
        return answers.DEPLOYED

    @answered
    def delete_slice(self, username: str, slice_id: int) -> str:
        """Take a slice away, however far it got, and its file; what it had counts until it is confirmed gone."""
        with self.executor.slices.locked(self._owned(username, slice_id)):
            key = self._owned(username, slice_id)  # another call may have been first
            asked = workflow.Asked(destroy=(key,))
            try:
                self.executor.apply(self.executor.inputs(), asked, lambda _: None)
                if (path := self.executor.slices.find(key)) is not None:
                    path.unlink()
            finally:
                with self.db.locked():
                    self.db.mirror(self.executor.recorded())
        return answers.DELETED

    @answered
    def get_slice(self, username: str, slice_id: int) -> SliceDict:
        """Return a slice as it is in file and record; the imperative system kept this in its database."""
        key = self._owned(username, slice_id)
        with edited(self.db, self.executor, key) as edit:
            return slice_dict(*edit.files(), edit.recorded())

    def get_next_worker(self) -> str:
        """Take the turn, and return the address of the worker whose it was; raises UsageError where none is listed."""
        cluster = listed(self.executor.cluster(), self.db.workers_list)
        with self.executor.record() as store:
            turn = store.take_turn(lambda turn: next_in(cluster, turn)[1])
        return next_in(cluster, turn)[0]

    def _check_user(self, username: str) -> None:
        if self.db.user(username) is None:
            raise Refused(answers.USER_NOT_FOUND)

    def _owned(self, username: str, slice_id: int) -> SliceKey:
        """Return the slice of an id; raises Refused where user or slice is not there, or it is another's."""
        self._check_user(username)
        key = find_slice(self.executor.recorded(), slice_id)
        if key is None:
            raise Refused(answers.SLICE_NOT_FOUND)
        if owner(key) != username:
            raise Refused(answers.NOT_AUTHORIZED)
        return key


def _text(edit: SliceEdit) -> str:
    return edit.path.read_text(encoding="utf-8")


def _checked_name(text: str) -> SliceKey:
    """Return the key of a slice just begun; raises Refused where its name or owner's is none."""
    try:
        written = parse_slice(text, "").slice
    except SpecError as error:
        first = error.found[0]
        raise Refused(f"{first.summary}{f' ({first.hint})' if first.hint else ''}") from None
    return slice_key(written.owner, written.name)


def _free_end(given: SliceAllocation, vm_id: int, interface: str) -> str:
    """Return an end of a link as files name it.

    Raises Refused where the slice has no such VM, or it no such card, or one that is linked.
    """
    name = next((name for name, vm in given.vms.items() if vm.id == vm_id), None)
    if name is None:
        raise Refused(f"VM {vm_id} not found")
    cards = [f"eth{card}" for card in range(1, given.vms[name].nics)]
    if interface not in cards:
        has = f"its data interfaces are {', '.join(cards)}" if cards else "it has no data interfaces"
        raise Refused(f"Interface {interface} of {name} cannot be linked: {has}")
    if (name, int(interface.removeprefix("eth"))) in {end for key in given.links for end in ends(key)}:
        raise Refused(f"Interface {interface} of {name} is linked already")
    return f"{name}:{interface}"
