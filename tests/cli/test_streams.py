"""Data on stdout, all else on stderr; colour on terminals only; one JSON document whatever happens."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.cli.running import PROGRAM, Cli, on_terminal

pytestmark = pytest.mark.slow

ESCAPE = "\x1b["
RUNS = [
    ["validate"],
    ["plan"],
    ["status"],
    ["drift"],
    ["show", "two-vms"],
    ["doctor"],
    ["apply", "--auto-approve"],
    ["destroy", "--auto-approve", "two-vms"],
    ["lab", "status", "--name", "nowhere"],
    ["init"],
    ["init", "elsewhere"],
]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("arguments", RUNS, ids=" ".join)
def test_every_verb_prints_one_json_document(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments, "--json")
    assert done.data is not None
    assert done.err == ""


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "arguments",
    [*RUNS[:8], ["nonsense"], ["plan", "--nonsense"], ["show"], ["apply", "--parallelism", "many"], ["lab", "exec"]],
    ids=" ".join,
)
def test_every_error_is_one_json_document(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments, "--json")
    assert (done.code, done.err) == (1, "")
    assert done.data["error"]["code"] == "usage"
    assert done.data["error"]["summary"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plam"], "there is no verb 'plam'\nhint: did you mean `plan`? `reconciler --help` lists the verbs\n"),
        (["plan", "--zzz"], "No such option: --zzz\nhint: reconciler plan --help\n"),
        (["show"], "Missing argument 'SLICE|FILE'.\nhint: reconciler show --help\n"),
        (["lab", "exec"], "Missing argument 'HOST'.\nhint: reconciler lab exec --help\n"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_told_like_any_error(cli: Cli, arguments: list[str], words: str) -> None:
    done = cli(*arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err == f"error[usage]: {words}"


@pytest.mark.usefixtures("project")
def test_a_pipe_gets_neither_colour_nor_folded_lines(process: Cli) -> None:
    done = process("doctor")
    assert ESCAPE not in done.out
    assert done.code == 1
    assert not [line for line in done.out.splitlines() if line.endswith(("…", "-"))]


@pytest.mark.usefixtures("project")
def test_a_terminal_gets_colour() -> None:
    assert f"{ESCAPE}32m" in on_terminal(["plan"]).out


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["plan", "--no-color"], {}),
        (["--no-color", "plan"], {}),
        (["plan"], {"NO_COLOR": "1"}),
        (["plan"], {"TERM": "dumb"}),
        (["plan"], {"RECONCILER_NO_COLOR": "1"}),
    ],
    ids=str,
)
def test_colour_can_be_refused(
    arguments: list[str], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = on_terminal(arguments)
    assert "Plan: 19 to add" in done.out
    assert not [code for code in ("30m", "31m", "32m", "33m", "35m", "93m") if code in done.out]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("arguments", [["plan"], ["plan", "--json"], ["--help"], ["validate"]], ids=" ".join)
def test_a_reader_that_goes_away_is_no_trouble(arguments: list[str]) -> None:
    process = subprocess.Popen([PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() in {0, 1}


def write_to(out: str, err: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run in a shell with redirections of standard output and error."""
    command = f'"$@" {out} {err}'
    return subprocess.run(["sh", "-c", command, "sh", PROGRAM, *arguments], check=False, text=True, capture_output=True)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("out", "words"),
    [("> /dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
    ids=["full", "closed"],
)
def test_output_that_cannot_be_written_is_one_line_and_not_a_success(out: str, words: str) -> None:
    done = write_to(out, "", "plan")
    assert (done.returncode, done.stderr) == (1, f"standard output could not be written: {words}\n")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("err", ["2> /dev/full", "2>&-"], ids=["full", "closed"])
def test_errors_that_nobody_can_read_are_still_errors(err: str) -> None:
    done = write_to("", err, "plan", "--zzz")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.usefixtures("project")
def test_a_reader_that_goes_away_is_no_error_message() -> None:
    done = write_to("| true", "", "plan")
    assert (done.stdout, done.stderr) == ("", "")


def test_a_closed_standard_output_is_not_taken_by_a_file_that_is_opened(folder: Path) -> None:
    for name, redirection in (("told", ""), ("closed", ">&- 2>&-")):
        write_to(redirection, "", "init", name)
    files = sorted(path.relative_to(folder / "told") for path in (folder / "told").rglob("*") if path.is_file())
    assert Path("cluster.yaml") in files
    for path in files:
        closed, told = ((folder / name / path).read_text() for name in ("closed", "told"))
        assert re.sub(r"(?m)^id: .*$", "", closed) == re.sub(r"(?m)^id: .*$", "", told)
