"""The state names a host that the cluster file no longer has: no verb ends in an internal error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from reconciler.cli.app import VERBS
from reconciler.cli.commands.state import VERBS as STATE_VERBS
from tests.cli.applied import put_applied
from tests.cli.running import Cli, Done

GONE = "worker1"
SLICE = "slices/two-vms.yaml"
REFUSED = "which is not in the cluster file"
UNKNOWN = f"{GONE}: it is not in the cluster file"

RUNS: dict[str, tuple[Sequence[str], int, str]] = {
    "init": (["init", "again"], 0, ""),
    "validate": (["validate", SLICE], 0, ""),
    "schema": (["schema", "slice"], 0, ""),
    "plan": (["plan", SLICE], 1, REFUSED),
    "plan of another slice": (["plan", "other.yaml"], 0, "to add"),
    "plan --refresh of another slice": (["plan", "--refresh", "other.yaml"], 1, ""),
    "plan --rehearse of another slice": (["plan", "--rehearse", "other.yaml"], 0, ""),
    "plan --prune": (["plan", "--prune", "others"], 1, REFUSED),
    "preview": (["preview", "--base", "main"], 1, "has no revision"),
    "apply": (["apply", "--auto-approve", SLICE], 1, REFUSED),
    "apply of another slice": (["apply", "--auto-approve", "other.yaml"], 1, ""),
    "destroy": (["destroy", "--auto-approve", "two-vms"], 1, REFUSED),
    "status": (["status"], 0, "two-vms"),
    "status --host": (["status", "--host", GONE], 0, "two-vms"),
    "status of a host with a typo": (["status", "--host", "worker11"], 1, "did you mean `worker1"),
    "state list --host": (["state", "list", "--host", GONE], 0, GONE),
    "show": (["show", "two-vms"], 0, GONE),
    "history": (["history"], 0, "two-vms"),
    "history of one": (["history", "1"], 0, GONE),
    "unlock": (["unlock", "two-vms", "--auto-approve"], 0, ""),
    "drift": (["drift"], 1, UNKNOWN),
    "drift of a slice": (["drift", "two-vms"], 1, UNKNOWN),
    "gc": (["gc", "--auto-approve"], 1, UNKNOWN),
    "gc --dry-run": (["gc", "--dry-run"], 1, UNKNOWN),
    "verify": (["verify"], 1, UNKNOWN),
    "verify of a slice": (["verify", "two-vms"], 1, UNKNOWN),
    "doctor": (["doctor"], 1, ""),
    "comment": (["comment", "--help"], 0, ""),
    "lab": (["lab", "--help"], 0, ""),
    "state list": (["state", "list"], 0, GONE),
    "state show": (["state", "show", f"image/cirros@{GONE}"], 1, "not in the state"),
    "state export": (["state", "export", "-o", "export.json"], 0, ""),
    "state import": (["state", "import", "nowhere.json"], 1, "cannot be read"),
    "state restore": (["state", "restore"], 0, "no copy of the state"),
    "state rebuild": (["state", "rebuild", "--auto-approve"], 1, "could not be read"),
    "state forget": (["state", "forget", "vm/admin/two-vms/web", "--auto-approve"], 0, ""),
    "hosts": (["hosts"], 0, "not in the cluster file"),
    "cordon": (["cordon", "worker2"], 0, "is cordoned by"),
    "cordon of the host": (["cordon", GONE], 1, "the cluster file has no worker 'worker1'"),
    "uncordon": (["uncordon", "worker2"], 0, "was not cordoned"),
    "evacuate": (["evacuate", "worker2", "--auto-approve"], 1, REFUSED),
    "evacuate of the host": (["evacuate", GONE, "--auto-approve"], 1, "the cluster file has no worker 'worker1'"),
    "replace-host": (["replace-host", "worker2", "worker3", "--auto-approve"], 1, ""),
    "replace-host of the host": (["replace-host", GONE, "worker9", "--auto-approve"], 1, "has no host 'worker9'"),
    "forget": (["forget", GONE, "--auto-approve"], 0, "loses its data"),
}


@pytest.fixture
def without(project: Path) -> Path:
    """Put two-vms into the state as if it was applied, then take one of its workers out of the cluster file."""
    assert any(step.host == GONE for step in put_applied(project, SLICE).steps)
    cluster = project / "cluster.yaml"
    yaml = YAML(typ="safe")
    data = yaml.load(cluster)
    data["workers"] = [worker for worker in data["workers"] if worker["name"] != GONE]
    with cluster.open("w") as stream:
        yaml.dump(data, stream)
    (project / "others").mkdir()
    text = "version: 1\nname: other\nowner: admin\ndefaults: {flavor: cirros}\nvms: {solo: {internet: true}}\n"
    for file in (project / "other.yaml", project / "others" / "other.yaml"):
        file.write_text(text)
    return project


def test_every_verb_has_a_run_here() -> None:
    named = [verb.name for verb in VERBS if verb.name != "state"] + [f"state {verb.name}" for verb in STATE_VERBS]
    assert [name for name in named if name not in RUNS] == []


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("name", RUNS)
def test_no_verb_ends_in_an_internal_error(cli: Cli, name: str, as_json: bool) -> None:
    arguments, code, told = RUNS[name]
    json_too = as_json and name not in {"schema", "comment", "lab", "init"}
    done = cli(*arguments, *(["--json"] if json_too else []))
    said = done.out + done.err
    assert (done.code, "internal" in said, "Traceback" in said) == (code, False, False), said
    if json_too:
        _is_json(done)
    else:
        assert told in said


def _is_json(done: Done) -> None:
    if done.out:
        json.loads(done.out)


@pytest.mark.usefixtures("without")
def test_lists_of_one_host_have_nothing_of_others(cli: Cli) -> None:
    hosts = {row["host"] for row in cli("state", "list", "--json").data}
    assert hosts > {GONE}
    assert {row["host"] for row in cli("state", "list", "--host", GONE, "--json").data} == {GONE}
    assert cli("state", "list", "two-vms", "--host", GONE).code == 0
    assert [row["slice"] for row in cli("status", "--host", GONE, "--json").data] == ["admin/two-vms"]
