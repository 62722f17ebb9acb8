"""Names that would be commands, options, paths or terminal sequences, given to every verb there is, in every file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.app import command
from tests.cli.running import Cli, Write, plain

pytestmark = pytest.mark.slow

EVIL = [
    *("; touch canary", "$(touch canary)", "`touch canary`", "| touch canary", "--help", "-oProxyCommand=touch canary"),
    *("../elsewhere", "a\nb", "a\0b", "\r", "\x1b[2Jcleared", "\u202eabc", "\x9b31m", "a" * 300, "w\u0435b", "名前"),
    *("'", '"', "${IFS}", "a b", "\udcff", ""),
]
GLOBAL = {"cluster", "state", "slice_folder", "json", "no_color", "verbose", "help"}
PATHS = {"directory", "folder", "paths", "file", "out", "output", "path"}
"""Parameters that take any path of this machine: what is asked for is done, and nothing else."""


def verbs(group: Any, *above: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Walk the command line itself, so that a new verb is in this test from its first day."""
    for name, one in sorted(group.commands.items()):
        if hasattr(one, "commands"):
            yield from verbs(one, *above, name)
        else:
            yield (*above, name), one


PLACES = [
    pytest.param(name, one, parameter, id=f"{'-'.join(name)}-{parameter.name}")
    for name, one in verbs(command())
    for parameter in one.params
    if parameter.name not in GLOBAL and not getattr(parameter, "is_flag", False)
]


def arguments(name: tuple[str, ...], verb: Any, parameter: Any, evil: str) -> list[str]:
    """Give one parameter the evil value, and all others that must be there a harmless one."""
    options: list[str] = []
    words: list[str] = []
    for one in verb.params:
        chosen = one is parameter
        if one.param_type_name == "argument":
            words += [evil] if chosen else ["x"] if one.required else []
        elif chosen or one.required:
            options += [f"{max(one.opts, key=len)}={evil if chosen else 'x'}"]
    return [*name, *options, "--", *words]


def harmless(text: str) -> bool:
    """Whether a text can steer no terminal, colours of our own apart."""
    return all(letter.isprintable() or letter == "\n" for letter in plain(text))


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(("name", "verb", "parameter"), PLACES)
def test_every_parameter_of_every_verb(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: tuple[str, ...], verb: Any, parameter: Any
) -> None:
    monkeypatch.setenv("RECONCILER_LAB_DIR", str(tmp_path / "labs"))
    for evil in EVIL:
        done = cli(*arguments(name, verb, parameter, evil))
        told = f"{evil!r}: exit {done.code}\n{done.out}{done.err}"
        if parameter.name not in PATHS:
            assert done.code in {1, 2}, told
            assert len(re.findall(r"^error", plain(done.err), re.MULTILINE | re.IGNORECASE)) == 1, told
        assert "Traceback" not in done.out + done.err, told
        assert harmless(done.out + done.err), told
    assert [path for path in tmp_path.rglob("canary") if path.is_file()] == []


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("option", ["cluster", "state", "slice-folder"])
def test_global_options(cli: Cli, tmp_path: Path, option: str) -> None:
    for evil in EVIL:
        done = cli("plan", f"--{option}={evil}")
        assert "Traceback" not in done.out + done.err
        assert harmless(done.out + done.err), repr(evil)
        assert done.code in {0, 1}
    assert [path for path in tmp_path.rglob("canary") if path.is_file()] == []


FIELDS = {
    "slice": "version: 1\nname: {}\nowner: admin\n",
    "owner": "version: 1\nname: a\nowner: {}\n",
    "vm": "version: 1\nname: a\nowner: admin\nvms:\n  ? {}\n  : {{flavor: cirros}}\n",
    "flavor": "version: 1\nname: a\nowner: admin\nvms:\n  v: {{flavor: {}}}\n",
    "worker": "version: 1\nname: a\nowner: admin\nvms:\n  v: {{flavor: cirros, worker: {}}}\n",
    "interface": "version: 1\nname: a\nowner: admin\nvms:\n  v: {{flavor: cirros}}\nlinks:\n  - ['v:{}', 'v:eth1']\n",
}


@pytest.mark.parametrize("field", FIELDS)
def test_every_name_of_a_slice_file(cli: Cli, project: Path, write: Write, field: str) -> None:
    for evil in EVIL:
        quoted = evil.replace("'", "") if field == "interface" else _quoted(evil)
        path = write("evil.yaml", FIELDS[field].format(quoted)) if "\udcff" not in evil else project / "none.yaml"
        for verb in ("validate", "plan", "apply"):
            done = cli(verb, str(path))
            assert done.code == 1, f"{verb} {evil!r}\n{done.out}{done.err}"
            assert harmless(done.out + done.err), repr(evil)
            assert "Traceback" not in done.err
    assert not (project / "canary").exists()


def _quoted(evil: str) -> str:
    return '"' + "".join(f"\\U{ord(letter):08x}" for letter in evil) + '"'


@pytest.mark.parametrize("key", ["name", "workers", "bridge", "user"])
def test_every_name_of_a_cluster_file(cli: Cli, project: Path, key: str) -> None:
    before = (project / "cluster.yaml").read_text()
    places = {"name": r"(?m)^name: .*", "workers": r"name: worker1\b", "bridge": r"trunk: \S+", "user": r"user: \S+"}
    for evil in EVIL[:-2]:
        key_word = places[key].rpartition(":")[0].rpartition(")")[2].lstrip("^")
        line = f"{key_word}: {_quoted(evil)}".replace("\\", "\\\\")
        text, count = re.subn(places[key], line, before)
        assert count, f"the cluster file of init has no {key}"
        (project / "cluster.yaml").write_text(text)
        done = cli("doctor")
        assert done.code == 1, f"{evil!r}\n{done.out}{done.err}"
        assert harmless(done.out + done.err), repr(evil)
        assert "Traceback" not in done.err
    assert not (project / "canary").exists()


@pytest.mark.parametrize("odd", ["a b.qcow2", "it's.qcow2", "$HOME.qcow2", '"quoted".qcow2', "; touch canary.qcow2"])
def test_paths_that_are_odd_but_legal_work(cli: Cli, project: Path, odd: str) -> None:
    folder = project / odd.removesuffix(".qcow2")
    folder.mkdir()
    (folder / "two.yaml").write_text((project / "slices" / "two-vms.yaml").read_text())
    record = project / f"{odd}.db"
    assert cli("plan", f"--state={record}", str(folder / "two.yaml")).code == 0
    assert cli("state", "export", f"--state={record}", "-o", str(folder / odd)).code == 0
    assert (folder / odd).is_file()
    assert not list(project.glob("canary*"))
