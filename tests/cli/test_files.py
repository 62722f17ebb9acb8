"""`init` and `validate`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reconciler.cli.commands.files import _SCHEMAS, _STARTERS
from reconciler.spec.load import load_cluster
from reconciler.state.location import default_place, place_of
from reconciler.trees import DISK
from tests.cli.running import Cli, Write
from tests.conftest import Golden

HERE = Path(__file__).parent


def test_init_writes_files_that_validate_and_plan(cli: Cli, folder: Path) -> None:
    done = cli("init")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("wrote cluster.yaml\nwrote slices/two-vms.yaml\n")
    assert sorted(path.name for path in folder.rglob("*.yaml")) == ["cluster.yaml", "two-vms.yaml"]
    told = cli("validate")
    assert told.code == 1, "its images have no checksum yet"
    assert [
        line.partition(": error[image]: ")[2].partition(":")[0] for line in told.err.splitlines() if "error" in line
    ] == [
        "image cirros has no checksum yet",
        "image ubuntu has no checksum yet",
    ]
    assert "hint: `sha256sum images/cirros.qcow2` prints it" in told.err
    cluster = folder / "cluster.yaml"
    cluster.write_text(cluster.read_text().replace("0" * 64, "07" * 32))
    assert cli("validate").out == "Valid: cluster campus, 1 slice: admin/two-vms.\n"
    assert "1 restart" not in cli("plan").out
    assert cli("plan").out.splitlines()[-1] == "Plan: 19 to add, 0 to change, 0 to replace, 0 to destroy."


def test_init_gives_each_cluster_an_id_by_which_its_state_is_found(cli: Cli, folder: Path) -> None:
    places = []
    for name in ("one", "two"):
        assert cli("init", name).code == 0
        cluster = load_cluster(DISK, folder / name / "cluster.yaml").cluster
        assert cluster.id is not None
        places.append(place_of(cluster, None))
        assert Path(places[-1]) == default_place("campus", cluster.id)
    assert len(set(places)) == 2, "two clusters named campus have two states"


def test_init_writes_where_it_is_told(cli: Cli, folder: Path) -> None:
    done = cli("init", "new/place", "--json")
    assert done.data == {
        "format_version": 1,
        "written": [f"new/place/{target}" for target in (*_STARTERS.values(), *_SCHEMAS.values())],
    }
    assert cli("plan", "--cluster", "new/place/cluster.yaml", "new/place/slices").code == 0


@pytest.mark.parametrize("existing", _STARTERS.values())
def test_init_overwrites_nothing(cli: Cli, write: Write, folder: Path, existing: str) -> None:
    kept = write(existing, "mine\n")
    done = cli("init")
    assert (done.code, done.out) == (1, "")
    assert done.err == f"error[usage]: {existing}: already exists; nothing was written\nhint: choose another folder\n"
    assert [path.read_text() for path in folder.rglob("*.yaml")] == [kept.read_text()] == ["mine\n"]


def test_init_leaves_nothing_where_it_cannot_write_all(cli: Cli, write: Write, folder: Path) -> None:
    write("slices", "in the way\n")
    done = cli("init")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "error[usage]: slices/two-vms.yaml cannot be written: File exists\nhint: choose another folder\n"
    )
    assert [path.name for path in folder.iterdir()] == ["slices"]


def test_every_starter_is_written() -> None:
    starters = Path(__file__).parents[2] / "reconciler/cli/starters"
    assert sorted(path.name for path in starters.iterdir()) == sorted(_STARTERS)


SLICE = """version: 1
name: wrong
owner: nobody
vms: {web: {flavor: cirros}, db: {flavor: cirrus, wroker: worker1}}
links:
  - [web:eth1, web:eth1]
"""


@pytest.mark.usefixtures("project")
def test_validate_tells_every_problem(cli: Cli, write: Write, golden: Golden) -> None:
    write("slices/one.yaml", SLICE)
    write("slices/two.yaml", "version: 1\nname: Two\n\tvms: {}\n")
    done = cli("validate")
    assert (done.code, done.out) == (1, "")
    golden(HERE / "validate-several-problems.txt", done.err)


@pytest.mark.usefixtures("project")
def test_validate_tells_every_problem_as_json(cli: Cli, write: Write) -> None:
    write("slices/one.yaml", SLICE)
    done = cli("validate", "slices", "--json")
    problems = done.data["error"]["problems"]
    assert (done.code, done.err) == (1, "")
    assert {problem["file"] for problem in problems} == {"slices/one.yaml"}
    assert all(set(problem) == {"code", "summary", "file", "line", "column", "hint"} for problem in problems)
    assert [problem["line"] for problem in problems] == sorted(problem["line"] for problem in problems)


@pytest.mark.usefixtures("project")
def test_a_malformed_file_hides_no_problem_of_another(cli: Cli, write: Write) -> None:
    write("slices/one.yaml", "version: 1\nname: one\nowner: nobody\n")
    write("slices/two.yaml", "version: 1\nname: two\nowner: admin\nvmz: {}\n")
    problems = cli("validate", "--json").data["error"]["problems"]
    assert [(problem["file"].rpartition("/")[2], problem["code"]) for problem in problems] == [
        ("one.yaml", "unknown-name"),
        ("two.yaml", "unknown-key"),
    ]


@pytest.mark.usefixtures("project")
def test_a_malformed_cluster_file_hides_no_problem_of_a_slice(cli: Cli, write: Write) -> None:
    write("other.yaml", "version: 1\nname: other\n")
    write("slices/one.yaml", "version: 1\nname: one\nowner: admin\nvmz: {}\n")
    problems = cli("validate", "slices/one.yaml", "--cluster", "other.yaml", "--json").data["error"]["problems"]
    assert {problem["file"] for problem in problems} == {"other.yaml", "slices/one.yaml"}


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("verb", ["validate", "plan", "apply"])
def test_a_folder_without_a_slice_is_an_error_and_no_empty_plan(cli: Cli, folder: Path, verb: str) -> None:
    (folder / "empty").mkdir()
    done = cli(verb, "empty", *(["--auto-approve"] if verb == "apply" else []))
    assert (done.code, done.out) == (1, "")
    assert done.err == "error[usage]: there is no slice file in empty\nhint: slice files end in .yaml or .yml\n"


def test_init_names_the_schemas_that_it_writes(cli: Cli, folder: Path) -> None:
    cli("init")
    for written in _STARTERS.values():
        modeline = (folder / written).read_text().splitlines()[0]
        named = folder / Path(written).parent / modeline.removeprefix("# yaml-language-server: $schema=")
        assert json.loads(named.read_text())["type"] == "object"


@pytest.mark.parametrize("kind", ["slice", "cluster"])
def test_schema_prints_what_is_committed(cli: Cli, kind: str) -> None:
    committed = (HERE.parents[1] / "docs" / "schemas" / f"{kind}.json").read_text()
    assert cli("schema", kind).out == committed
    assert cli("schema", kind, "--json").data == json.loads(committed)


def test_there_is_no_schema_of_anything_else(cli: Cli) -> None:
    done = cli("schema", "plan")
    assert (done.code, done.out) == (1, "")
    assert done.err == "error[usage]: there is no file of kind 'plan'\nhint: choose one of slice, cluster\n"


@pytest.mark.parametrize("arguments", [["validate"], ["plan"], ["plan", "-o", "out.plan"]], ids=" ".join)
def test_a_file_whose_name_is_not_utf8_is_one_error(cli: Cli, project: Path, arguments: list[str]) -> None:
    odd = Path(os.fsdecode(bytes(project / "slices") + b"/caf\xe9.yaml"))
    (project / "slices" / "two-vms.yaml").rename(odd)
    done = cli(*arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "slices/caf\\udce9.yaml:1:1: error[file-unreadable]: the name of this file is not valid UTF-8\n"
        "hint: rename the file\n"
    )


@pytest.mark.usefixtures("project")
def test_wrong_values_hide_no_wrong_reference(cli: Cli, write: Write) -> None:
    write(
        "slices/one.yaml",
        """version: 1
name: one
owner: nobody
vms:
  web: {flavor: cirrus, wroker: w}
  db: {vcpus: many, group: g}
  mail: 5
links:
  - [web:eth0, db]
  - [web:eth1, mial]
  - {endpoints: [web:eth1, mail], mtu: small}
  - {endpoints: [web, db], subnet: 10.60.7.0/24}
""",
    )
    problems = cli("validate", "slices", "--json").data["error"]["problems"]
    assert [(problem["line"], problem["summary"][:46]) for problem in problems] == [
        (3, "the cluster has no user nobody"),
        (5, "the cluster has no flavor cirrus"),
        (5, "unknown key 'wroker' in vms.web"),
        (6, "vms.db.vcpus must be a whole number, not the t"),
        (6, "this file has no group g"),
        (7, "vms.mail must be a mapping of keys and values,"),
        (9, "links[0].endpoints[0] cannot be the text 'web:"),
        (10, "this slice has no VM mial"),
        (11, "web:eth1 is already in use (line 10, column 6)"),
        (11, "links[2].mtu must be a whole number, not the t"),
        (12, "subnet 10.60.7.0/24 overlaps the cluster's int"),
    ]


def test_an_owner_is_bound_in_a_file_with_other_problems(cli: Cli, project: Path, write: Write) -> None:
    file = project / "cluster.yaml"
    file.write_text(file.read_text().replace("  admin: {", "  alice: {paths: [slices/alice/**]}\n  admin: {"))
    write("slices/stolen.yaml", "version: 1\nname: a\nowner: alice\nvms: {web: {flavor: cirros, wroker: w}}\n")
    problems = cli("validate", "slices/stolen.yaml", "--json").data["error"]["problems"]
    assert [(problem["line"], problem["column"]) for problem in problems] == [(3, 8), (4, 29)]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("verb", ["validate", "plan"])
def test_the_slice_folder_is_read_where_no_path_is_given(cli: Cli, write: Write, verb: str) -> None:
    write("elsewhere/bad.yaml", "version: 1\nname: bad\nowner: nobody\n")
    assert cli(verb).code == 0
    assert "elsewhere/bad.yaml:3:8: error[unknown-name]" in cli(verb, "--slice-folder", "elsewhere").err
    write("reconciler.toml", 'slice-folder = "elsewhere"\n')
    assert "elsewhere/bad.yaml:3:8: error[unknown-name]" in cli(verb).err
    assert cli(verb, "slices").code == 0


@pytest.mark.parametrize(("file", "old", "new"), [
    ("slices/two-vms.yaml", "db: {}", "db: {flavor: none}"),
    ("cluster.yaml", "accelerator: kvm", "accelerator: none"),
])  # fmt: skip
def test_missing_checksums_are_told_with_all_other_problems(
    cli: Cli, folder: Path, file: str, old: str, new: str
) -> None:
    cli("init")
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    problems = cli("validate", "--json").data["error"]["problems"]
    assert [problem["code"] for problem in problems].count("image") == 2
    assert len(problems) == 3
