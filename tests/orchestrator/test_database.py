"""`database.yaml`: created if missing, its layout kept, and errors reported with their location."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.errors import ReconcilerError
from reconciler.orchestrator import Database
from reconciler.orchestrator.database import WORKERS
from reconciler.orchestrator.usage import find_slice, owned_slices, used_vms
from reconciler.plan.snapshot import Claim, Counters, StateSnapshot
from reconciler.spec.models.names import LinkId, SliceId, VmId
from tests.contracts.states import LAB1, LAB2, allocation

RECORDED = StateSnapshot("test", allocations={LAB1: allocation(0), LAB2: allocation(1)})


def test_a_missing_database_is_created_with_the_user_admin(tmp_path: Path) -> None:
    database = Database(tmp_path / "database.yaml")
    assert database.workers_list == list(WORKERS)
    admin = database.user("admin")
    assert admin is not None
    assert (admin.slices, admin.used_vms, admin.quota.vms) == ([], 0, 50)
    assert database.user("alice") is None
    assert Database(tmp_path / "database.yaml").read() == database.read()


def test_other_contents_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "database.yaml"
    path.write_text(
        "# Our users.\n"
        "users:\n"
        "  alice: {phone: '0123', slices: [7]}   # moved in last week\n"
        "  bob:\n"
        "    quota: 5\n"
        "site: north\n"
    )
    database = Database(path)
    assert database.workers_list == list(WORKERS), "a database that names none has the reference's"
    bob = database.user("bob")
    assert bob is not None
    assert bob.quota.vms == 5
    with database.locked():
        database.update_from(replace(RECORDED, counters=Counters(SliceId(1002), VmId(1003), LinkId(30))))
    assert path.read_text() == (
        "# Our users.\n"
        "users:\n"
        "  alice: {phone: '0123', slices: [1000], used_vms: 1} # moved in last week\n"
        "  bob:\n"
        "    quota: 5\n"
        "    slices: [1001]\n"
        "    used_vms: 1\n"
        "site: north\n"
        "counters:\n"
        "  slice_id: 1002\n"
        "  vm_id: 1003\n"
        "  link_id: 30\n"
    )


def test_what_is_being_deleted_still_counts() -> None:
    held = {LAB1: frozenset({Claim("slice-id", "", "1000"), Claim("vm-id", "", "1001"), Claim("vlan", "", "100")})}
    leaving = StateSnapshot("test", allocations={LAB2: allocation(1)}, held=held)
    assert (owned_slices(leaving, "alice"), used_vms(leaving, "alice")) == ([1000], 1)
    assert find_slice(leaving, 1000) == LAB1
    assert find_slice(leaving, 1001) == LAB2
    assert find_slice(leaving, 999) is None
    gone = replace(leaving, held={})
    assert (owned_slices(gone, "alice"), used_vms(gone, "alice"), find_slice(gone, 1000)) == ([], 0, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("users: {admin: {}", ":1:"),
        ("users: [admin]\n", "users: Input should be a valid dictionary"),
        ("users: {admin: {used_vms: many}}\n", "users.admin.used_vms"),
        ("users: {admin: {quota: {vmss: 1}}}\n", "users.admin.quota.vmss"),
        ("workers_list: 10.0.10.1\n", "workers_list"),
        ("- a\n", "the file"),
        ("users: {a: 1}\nusers: {b: 2}\n", "users"),
    ],
)
def test_a_malformed_database_is_refused_with_its_location(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "database.yaml"
    path.write_text(text)
    with pytest.raises(ReconcilerError) as caught:
        Database(path)
    assert caught.value.summary.startswith(str(path))
    assert words in caught.value.summary
    assert path.read_text() == text
