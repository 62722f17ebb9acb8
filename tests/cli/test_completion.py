"""Completion by the installed program: verbs, options and names, fast, without a connection and without a message."""

from __future__ import annotations

import json
import os
import pty
import resource
import select
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli import completion
from reconciler.cli.app import command
from reconciler.cli.global_options import GLOBALS
from tests.cli.running import PROGRAM, Cli, Write

TABLE = Path(completion.__file__).with_name("verbs.json")
SEARCHED = f"{Path(PROGRAM).parent}:{os.environ['PATH']}"
_GLOBAL = {name for name, _, _ in GLOBALS}


def table() -> dict[str, Any]:
    return dict(_entries(command(), ()))


def _entries(verb: Any, path: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    arguments: list[str] = []
    options: dict[str, str | None] = {}
    for param in verb.params:
        if param.param_type_name == "argument":
            arguments.append(f"{param.metavar}{'...' if param.nargs == -1 else ''}")
        elif not path or param.name not in _GLOBAL:
            options |= dict.fromkeys((*param.opts, *param.secondary_opts), None if param.is_flag else param.metavar)
    verbs = getattr(verb, "commands", {})
    yield " ".join(path), {"arguments": arguments, "options": options, "verbs": list(verbs)}
    for name, inner in verbs.items():
        yield from _entries(inner, (*path, name))


def test_the_table_is_that_of_the_verbs(request: pytest.FixtureRequest) -> None:
    lines = ",\n".join(f"{json.dumps(verb)}: {json.dumps(entry)}" for verb, entry in table().items())
    text = f"{{\n{lines}\n}}\n"
    if request.config.getoption("--update-golden"):
        TABLE.write_text(text)
    assert TABLE.read_text() == text, "run pytest --update-golden"


def completed(line: str, shell: str = "bash", **environment: str) -> list[str]:
    """Complete a line in the folder of the process, as a shell does; it must answer without a message."""
    words = line.split(" ")
    asked = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1), "_TYPER_COMPLETE_ARGS": line}
    done = subprocess.run(
        [PROGRAM],
        env=os.environ | asked | {"_RECONCILER_COMPLETE": f"complete_{shell}"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("reconciler sta", ["state", "status"]),
        ("reconciler state re", ["rebuild", "restore"]),
        ("reconciler --json state re", ["rebuild", "restore"]),
        ("reconciler apply --acc", ["--accept-data-loss"]),
        ("reconciler apply --verb", ["--verbose"]),
        ("reconciler --vers", ["--version"]),
        ("reconciler schema ", ["cluster", "slice"]),
        ("reconciler schema slice ", []),
        ("reconciler init ", []),
        ("reconciler nonsense ", []),
        ("reconciler apply -o", []),
    ],
)
def test_verbs_and_options(line: str, words: list[str]) -> None:
    assert completed(line) == words


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("reconciler show ", ["admin/two-vms"]),
        ("reconciler show adm", ["admin/two-vms"]),
        ("reconciler show two", ["two-vms"]),
        ("reconciler show admin/two-vms ", []),
        ("reconciler destroy --auto-approve admin/", ["admin/two-vms"]),
        ("reconciler destroy admin/two-vms ", []),
        ("reconciler plan tw", ["two-vms"]),
        ("reconciler plan slices/", []),
        ("reconciler cordon wor", ["worker1", "worker2", "worker3"]),
        ("reconciler evacuate worker1 --to worker2 tw", ["two-vms"]),
        ("reconciler evacuate worker1 --to ", ["gateway", "worker1", "worker2", "worker3"]),
        ("reconciler status --host gate", ["gateway"]),
        ("reconciler status --host = gate", ["gateway"]),
        ("reconciler state show vm/admin/two-vms/w", ["vm/admin/two-vms/web"]),
        ("reconciler state forget vm/admin/two-vms/web vm/", ["vm/admin/two-vms/db"]),
        ("reconciler plan --replace disk/", ["disk/admin/two-vms/db", "disk/admin/two-vms/web"]),
        ("reconciler state show port/admin/two-vms/web : eth1", ["eth1"]),
        ("reconciler state show port/admin/two-vms/web :", ["eth0", "eth1"]),
    ],
)
def test_names_of_the_state_and_the_cluster_file(line: str, words: list[str]) -> None:
    assert completed(line) == words


def test_global_options_before_and_after_the_verb_say_where_names_are(applied: Path, write: Write) -> None:
    other = write("other/cluster.yaml", (applied / "cluster.yaml").read_text().replace("name: worker", "name: node"))
    assert completed(f"reconciler --cluster {other} cordon n") == ["node1", "node2", "node3"]
    assert completed(f"reconciler cordon --cluster {other} n") == ["node1", "node2", "node3"]
    assert completed("reconciler cordon n", RECONCILER_CLUSTER=str(other)) == ["node1", "node2", "node3"]
    (state,) = Path(os.environ["HOME"]).rglob("campus.db")
    moved = state.rename(applied / "there.db")
    assert completed("reconciler show ") == []
    assert completed(f"reconciler --state {moved} show ") == ["admin/two-vms"]
    assert completed(f"reconciler show --state sqlite:///{moved} ") == ["admin/two-vms"]
    write("reconciler.toml", 'state = "there.db"\n')
    assert completed("reconciler show ") == ["admin/two-vms"]


@pytest.mark.usefixtures("applied")
def test_other_shells() -> None:
    assert completed("reconciler show ", "zsh") == ["""_arguments '*: :(("admin/two-vms"))'"""]
    assert completed("reconciler state show port/admin/two-vms/web:eth0", "zsh") == [
        r"""_arguments '*: :(("port/admin/two-vms/web\\:eth0"))'"""
    ]
    assert completed("reconciler init x", "zsh") == ["_files"]
    assert completed("reconciler status --host=gate", "zsh") == ["""_arguments '*: :(("--host=gateway"))'"""]
    assert completed("reconciler show two", "fish") == ["two-vms"]


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize(
    "place", ["postgresql://u:secret@192.0.2.1/db", "/nowhere/state.db", "cluster.yaml", "/dev/null", "x" * 300, "."]
)
def test_what_cannot_be_read_has_no_names_and_no_message(place: str) -> None:
    assert completed(f"reconciler --state {place} show ") == []


def test_a_cluster_file_that_is_wrong_has_no_hosts(project: Path) -> None:
    for text in ("workers: {", "workers: 1\n", "- a\n", "workers: [{name: '$(id)'}, {name: ok}, 7]\n", "\0"):
        (project / "cluster.yaml").write_text(text)
        assert completed("reconciler cordon ") in ([], ["ok"])


@pytest.mark.usefixtures("applied")
def test_a_word_is_completed_in_less_than_a_third_of_a_second() -> None:
    def seconds() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    spent = []
    for _ in range(3):
        before = seconds()
        assert completed("reconciler cordon w")
        spent.append(seconds() - before)
    assert min(spent) < 0.3, spent


@pytest.mark.usefixtures("applied")
def test_bash_completes_with_the_script_that_the_program_prints(process: Cli) -> None:
    script = process("--show-completion", "bash")
    assert script.code == 0
    keys = """
        COMP_WORDS=(reconciler state show port/admin/two-vms/web : eth1); COMP_CWORD=5
        _reconciler_completion reconciler; printf '%s;' "${COMPREPLY[@]}"
        COMP_WORDS=(reconciler show ""); COMP_CWORD=2
        _reconciler_completion reconciler; printf '%s;' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", f"{script.out}\n{keys}"],
        env=os.environ | {"PATH": SEARCHED},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("eth1;admin/two-vms;", "")


def script_of(shell: str) -> str:
    """Return what `--show-completion` prints below that shell."""
    asked = os.environ | {"_RECONCILER_COMPLETE": f"source_{shell}"}
    return subprocess.run([PROGRAM], env=asked, capture_output=True, text=True, check=True).stdout


@pytest.mark.usefixtures("applied")
def test_fish_completes_with_the_script_that_the_program_prints() -> None:
    asked = (f"complete -C 'reconciler {line}'" for line in ("cord", "show ad", "plan --reh"))
    done = subprocess.run(
        ["fish", "--no-config", "-c", "\n".join((script_of("fish"), *asked))],
        env=os.environ | {"PATH": SEARCHED},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.split(), done.stderr) == (["cordon", "admin/two-vms", "--rehearse"], "")


@pytest.mark.usefixtures("applied")
def test_zsh_completes_with_the_script_that_the_program_prints(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"path=({shlex.quote(str(Path(PROGRAM).parent))} $path)\n{script_of('zsh')}")
    with zsh() as terminal:
        assert shows(terminal, f"autoload -U compinit; compinit -u -D; source {script}; echo re''ady\n", "ready")
        assert shows(terminal, "reconciler cord\t", "cordon ")
        assert shows(terminal, "\x15reconciler show adm\t", "admin/two-vms ")
        assert shows(terminal, "\x15reconciler state show disk/admin/two-vms/d\t", "disk/admin/two-vms/db ")


@contextmanager
def zsh() -> Iterator[int]:
    """Give the terminal of an interactive zsh without settings."""
    ours, its = pty.openpty()
    shell = ["setsid", "--ctty", "--wait", "zsh", "-f", "-i"]
    with subprocess.Popen(shell, env=os.environ | {"TERM": "dumb"}, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        try:
            yield ours
        finally:
            os.close(ours)  # which hangs up
            process.wait(10)


def shows(terminal: int, keys: str, expected: str) -> bool:
    """Type keys, and return whether the terminal then shows this before it falls silent."""
    os.write(terminal, keys.encode())
    shown = ""
    while expected not in shown and select.select([terminal], [], [], 10)[0]:
        shown += os.read(terminal, 2**16).decode(errors="replace")
    return expected in shown
