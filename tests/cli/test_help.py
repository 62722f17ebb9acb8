from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module

import pytest

from reconciler import __version__
from reconciler.cli import app
from reconciler.cli.commands import comment, lab, state
from tests.cli.running import Cli, plain

VERBS = [
    *("init", "validate", "schema", "plan", "preview", "apply", "destroy", "status", "show"),
    *("history", "unlock", "drift", "gc", "verify", "hosts", "cordon", "uncordon", "evacuate"),
    *("replace-host", "forget", "doctor"),
]
STATE_VERBS = ["list", "show", "export", "import", "restore", "rebuild", "forget"]
COMMENT_VERBS = ["github", "gitlab"]
LAB_VERBS = ["up", "down", "status", "exec"]
HELPS = [
    *([verb] for verb in VERBS),
    *(["state", verb] for verb in STATE_VERBS),
    *(["comment", verb] for verb in COMMENT_VERBS),
    *(["lab", verb] for verb in LAB_VERBS),
]


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("verb", [[], *HELPS], ids=lambda verb: " ".join(verb) or "itself")
def test_help_shows_examples_before_options(cli: Cli, verb: list[str], option: str) -> None:
    done = cli(*verb, option)
    text = plain(done.out)
    assert (done.code, done.err) == (0, "")
    assert text.index("Example") < text.index(f"reconciler {' '.join(verb)}", text.index("Example"))
    assert text.index("Example") < text.index("\nGlobal options:\n")


@pytest.mark.parametrize("verb", HELPS, ids=" ".join)
def test_global_options_and_their_variables_stand_in_every_help(cli: Cli, verb: list[str]) -> None:
    text = plain(cli(*verb, "--help").out)
    for name in ("cluster", "state", "json", "no-color", "verbose"):
        assert f"--{name}" in text
        assert f"RECONCILER_{name.replace('-', '_').upper()}" in text


def test_every_verb_is_listed_with_what_it_does(cli: Cli) -> None:
    text = plain(cli("--help").out)
    assert [verb for verb in [*VERBS, "comment", "state", "lab"] if f"\n  {verb} " not in text] == []


@pytest.mark.parametrize("arguments", [[], ["comment"], ["state"], ["lab"]], ids=["nothing", "comment", "state", "lab"])
def test_a_group_without_a_verb_shows_its_help(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments)
    assert (done.code, done.err) == (0, "")
    assert "Usage: reconciler" in plain(done.out)


def test_version(cli: Cli) -> None:
    assert cli("--version").out == f"reconciler {__version__}\n"


def test_no_verb_is_async() -> None:
    # Typer would call it, never await it, and exit 0.
    verbs = [verb for verb in (*app.VERBS, *comment.VERBS, *state.VERBS, *lab.VERBS) if verb.function != "VERBS"]
    functions = [getattr(import_module(verb.module), verb.function) for verb in verbs]
    assert len(functions) == len(HELPS)
    assert [verb.__name__ for verb in functions if inspect.iscoroutinefunction(verb)] == []


def test_help_imports_no_verb_and_no_rich() -> None:
    code = (
        "import sys\n"
        "from reconciler.cli.program import run\n"
        "run(['--help'])\n"
        "heavy = ('rich', 'pydantic', 'asyncio', 'sqlalchemy', 'asyncssh', 'networkx', 'reconciler.workflow')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr == "[]\n"


@pytest.mark.usefixtures("project")
def test_text_for_a_pipe_needs_no_rich() -> None:
    code = (
        "import sys\n"
        "from reconciler.cli.program import run\n"
        "run(['plan'])\n"
        "print('rich' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (done.stdout.splitlines()[-1][:5], done.stderr) == ("Plan:", "False\n")


def test_the_program_itself_answers(process: Cli) -> None:
    assert "Examples" in process("--help").out
