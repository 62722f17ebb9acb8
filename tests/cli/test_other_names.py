"""Verbs and keys by the names that other tools give them: the error names ours."""

from __future__ import annotations

import pytest

from tests.cli.running import Cli, Write


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["deploy"], "apply"),
        (["up"], "apply"),
        (["ls"], "status"),
        (["list"], "status"),
        (["ps"], "status"),
        (["down"], "destroy"),
        (["rm", "two-vms"], "destroy"),
        (["diff"], "plan"),
        (["plam"], "plan"),
        (["state", "ls"], "list"),
        (["state", "rm"], "forget"),
        (["lab", "start"], "up"),
        (["lab", "destroy"], None),
        (["frobnicate"], None),
    ],
)
def test_a_verb_of_another_tool(cli: Cli, words: list[str], meant: str | None) -> None:
    done = cli(*words)
    path = " ".join(["reconciler", *(word for word in words[:1] if word in {"state", "lab"})])
    word = words[1] if words[0] in {"state", "lab"} else words[0]
    close = f"did you mean `{meant}`? " if meant else ""
    assert (done.code, done.out) == (1, "")
    assert done.err == f"error[usage]: there is no verb '{word}'\nhint: {close}`{path} --help` lists the verbs\n"


@pytest.mark.usefixtures("project")
def test_keys_sizes_and_names_that_are_almost_right(cli: Cli, write: Write) -> None:
    write(
        "almost.yaml",
        "version: 1\nname: My_Lab\nowner: admin\ndefaults: {flavor: cirros}\n"
        "vms:\n  Web Server: {ram: 512MiB}\n  db: {memory: 512M, disk: 2 gb, cpus: 2}\n",
    )
    done = cli("validate", "almost.yaml")
    hints = [line.removeprefix("hint: ") for line in done.err.splitlines() if line.startswith("hint: ")]
    for meant in ("did you mean `my-lab`? ", "did you mean `web-server`? "):
        assert any(hint.startswith(meant) for hint in hints), hints
    for meant in ("did you mean `memory`?", "did you mean `vcpus`?"):
        assert meant in hints, hints
    for meant in ("did you mean 512MiB?", "did you mean 2GiB?"):
        assert any(hint.endswith(meant) for hint in hints), hints
