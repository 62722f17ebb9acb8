"""Calls that need no host, or reach none: numbers, refusals, and complete roll-back."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler import workflow
from reconciler.errors import UsageError
from reconciler.orchestrator import Database, DeploymentAPI, OrchestratorAPI, RemoteExecutor
from tests.contracts.postgres import data_folder, empty_schema, server

KEPT = "# Our users.\nusers:\n  admin: {phone: '0123'}   # ours\n  alice: {}\n"


def test_a_new_slice_has_a_file_and_numbers(api: OrchestratorAPI, folder: Path) -> None:
    assert api.create_slice("admin", "my-slice") == (True, {"slice_id": 1000, "name": "my-slice"})
    assert api.create_slice("admin", "other", "star") == (True, {"slice_id": 1001, "name": "other"})
    assert (folder / "slices/admin/other.yaml").read_text() == (
        "version: 1\nname: other\nowner: admin\nlabels: {topology: star}\nvms: {}\nlinks: []\n"
    )
    _, other = api.get_slice("admin", 1001)
    assert isinstance(other, dict)
    assert (other["topology"], other["status"], other["vlan_pool"]) == ("star", "design", list(range(120, 140)))
    with api.executor.open_state() as store:
        assert workflow.plan(api.executor.inputs(folder / "slices"), store).empty


@pytest.mark.parametrize(
    ("user", "name", "message"),
    [
        ("nobody", "x", "User not found"),
        ("admin", "my-slice", "Slice my-slice already exists"),
        ("admin", "My Slice", "name: 'My Slice' is not a name"),
        ("admin", "../../etc", "name: '../../etc' is not a name"),
        ("admin", "x" * 300, "is not a name"),
        ("admin", "a\nowner: alice", "is not a name"),
        ("admin", "", "is not a name"),
    ],
)
def test_an_invalid_slice_is_refused(api: OrchestratorAPI, folder: Path, user: str, name: str, message: str) -> None:
    assert api.create_slice("admin", "my-slice")[0]
    created, answer = api.create_slice(user, name)
    assert not created
    assert message in str(answer)
    assert [path.name for path in (folder / "slices").rglob("*.yaml")] == ["my-slice.yaml"]


def test_both_quotas_hold(api: OrchestratorAPI, folder: Path) -> None:
    assert [api.create_slice("admin", f"lab{number}")[0] for number in range(3)] == [True] * 3
    assert api.create_slice("admin", "lab3") == (False, "Quota exceeded"), "the cluster file's"
    text = api.db.path.read_text()
    api.db.path.write_text(text.replace("users:", "users:\n  alice: {quota: {slices: 1}}\n  bob: {quota: 0}"))
    assert api.create_slice("alice", "lab")[0]
    assert api.create_slice("alice", "lab2") == (False, "Quota exceeded"), "the database's"
    created, message = api.create_slice("bob", "lab")
    assert not created
    assert "bob" in str(message), "a user of the database alone owns no slice of the cluster"


def test_a_vm_that_no_host_accepts_is_rolled_back(api: OrchestratorAPI, folder: Path) -> None:
    api.create_slice("admin", "lab")
    before = (folder / "slices/admin/lab.yaml").read_text()
    added, message = api.add_vm_to_slice("admin", 1000, "vm1", "cirros", 1, internet_enabled=True)
    assert not added
    assert "worker1" in str(message)
    assert (folder / "slices/admin/lab.yaml").read_text() == before
    user = api.db.user("admin")
    assert user is not None
    assert (user.slices, user.used_vms) == ([1000], 0)
    assert api.executor.snapshot().held == {}
    assert not api.executor.snapshot().allocations[next(iter(api.executor.snapshot().allocations))].vms
    assert api.delete_slice("admin", 1000) == (True, "Slice deleted")
    assert not list((folder / "slices").rglob("*.yaml"))


@pytest.mark.parametrize(
    ("name", "flavor", "nics", "message"),
    [
        ("vm1", "huge", 1, "Invalid flavor"),
        ("VM 1", "cirros", 1, "'VM 1' is not a name"),
        ("vm1", "cirros", -1, "interfaces"),
        ("vm1", "cirros", 29, "interfaces"),
        ("vm1", "cirros", "many", "interfaces"),
    ],
)
def test_an_invalid_vm_is_refused_before_any_host(
    api: OrchestratorAPI, folder: Path, name: str, flavor: str, nics: int, message: str
) -> None:
    api.create_slice("admin", "lab")
    before = (folder / "slices/admin/lab.yaml").read_text()
    added, answer = api.add_vm_to_slice("admin", 1000, name, flavor, nics)
    assert not added
    assert message in str(answer)
    assert "worker" not in str(answer)
    assert (folder / "slices/admin/lab.yaml").read_text() == before
    assert [path.name for path in (folder / "slices/admin").iterdir()] == ["lab.yaml"]


def test_the_turn_is_in_the_state(api: OrchestratorAPI, folder: Path) -> None:
    assert [api.get_next_worker() for _ in range(4)] == ["10.0.10.1", "10.0.10.2", "10.0.10.3", "10.0.10.1"]
    again = OrchestratorAPI(Database(), api.deployment_api)
    assert again.get_next_worker() == "10.0.10.2"


def test_only_listed_workers_have_a_turn(api: OrchestratorAPI) -> None:
    text = api.db.path.read_text()
    api.db.path.write_text(text.replace("[10.0.10.1, 10.0.10.2, 10.0.10.3]", "[10.0.10.3, 10.0.10.1]"))
    assert [api.get_next_worker() for _ in range(4)] == ["10.0.10.3", "10.0.10.1", "10.0.10.3", "10.0.10.1"]
    api.db.path.write_text(text.replace("10.0.10.2", "10.0.10.9"))
    with pytest.raises(UsageError, match=r"workers_list has 10\.0\.10\.9, which the cluster file does not have"):
        api.get_next_worker()


def test_threads_get_ids_of_their_own(api: OrchestratorAPI) -> None:
    api.db.path.write_text(api.db.path.read_text().replace("users:", "users:\n  alice: {}"))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: api.create_slice("alice", f"lab{number}"), range(8)))
    assert all(created for created, _ in answers), answers
    assert {found["slice_id"] for _, found in answers if isinstance(found, dict)} == set(range(1000, 1008))
    assert api.executor.snapshot().counters.slice_id == 1008


@pytest.mark.postgres
@pytest.mark.usefixtures("postgres_allowed")
def test_calls_work_on_a_state_in_postgresql(api: OrchestratorAPI) -> None:
    with data_folder() as data, server(data) as running:
        shared = OrchestratorAPI(api.db, DeploymentAPI(RemoteExecutor(state=empty_schema(running.port))))
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda number: shared.create_slice("admin", f"lab{number}"), range(3)))
        assert sorted(found["slice_id"] for _, found in answers if isinstance(found, dict)) == [1000, 1001, 1002]
        assert [shared.get_next_worker() for _ in range(2)] == ["10.0.10.1", "10.0.10.2"]
        assert shared.delete_slice("admin", 1001) == (True, "Slice deleted")


def test_a_quota_holds_for_callers_at_once(api: OrchestratorAPI) -> None:
    api.db.path.write_text(api.db.path.read_text().replace("users:", "users:\n  alice: {quota: {slices: 3}}"))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: api.create_slice("alice", f"lab{number}"), range(8)))
    assert sum(created for created, _ in answers) == 3
    assert {words for created, words in answers if not created} == {"Quota exceeded"}


def test_the_second_of_two_deletes_finds_no_slice(api: OrchestratorAPI) -> None:
    api.create_slice("admin", "lab")
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: api.delete_slice("admin", 1000), range(2)))
    assert sorted(answers) == [(False, "Slice not found"), (True, "Slice deleted")]


async def test_it_can_be_called_where_an_event_loop_runs(api: OrchestratorAPI) -> None:
    await asyncio.sleep(0)
    assert api.create_slice("admin", "lab") == (True, {"slice_id": 1000, "name": "lab"})


def test_a_file_system_error_is_returned_and_not_raised(api: OrchestratorAPI, folder: Path) -> None:
    (folder / "slices").write_text("a file\n")
    created, message = api.create_slice("admin", "lab")
    assert not created
    assert "slices" in str(message)


def test_a_malformed_slice_file_is_reported_with_its_location(api: OrchestratorAPI, folder: Path) -> None:
    api.create_slice("admin", "lab")
    (folder / "slices/admin/lab.yaml").write_text(
        "version: 1\nname: lab\nowner: admin\nvms: {web: {flavour: cirros}}\n"
    )
    added, message = api.add_vm_to_slice("admin", 1000, "vm1", "cirros", 1)
    assert not added
    assert f"{folder}/slices/admin/lab.yaml:4:13: " in str(message)
    assert "did you mean `flavor`?" in str(message)


def test_a_file_is_found_anywhere_in_the_folder(api: OrchestratorAPI, folder: Path) -> None:
    api.create_slice("admin", "lab")
    (folder / "slices/course").mkdir()
    (folder / "slices/admin/lab.yaml").rename(folder / "slices/course/monday.yml")
    assert api.get_slice("admin", 1000)[0]
    assert api.create_slice("admin", "lab") == (False, "Slice lab already exists")
    (folder / "slices/course/monday.yml").rename(folder / "slices/course/.monday.yml")
    found, message = api.get_slice("admin", 1000)
    assert not found
    assert "has no file for it" in str(message)


def test_without_a_cluster_it_says_what_is_missing(folder: Path) -> None:
    (folder / "cluster.yaml").unlink()
    with pytest.raises(UsageError, match="no cluster file"):
        RemoteExecutor()


def test_the_environment_sets_the_locations(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (folder / "cluster.yaml").rename(elsewhere / "campus.yaml")
    monkeypatch.setenv("RECONCILER_CLUSTER", str(elsewhere / "campus.yaml"))
    monkeypatch.setenv("RECONCILER_STATE", str(elsewhere / "record.db"))
    monkeypatch.setenv("RECONCILER_SLICES", str(elsewhere / "git"))
    executor = RemoteExecutor()
    with executor.open_state() as store:
        store.take_turn(lambda turn: turn + 1)
    assert (elsewhere / "record.db").exists()
    assert executor.slices.path == elsewhere / "git"
