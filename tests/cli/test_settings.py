"""Settings in reconciler.toml: a key or a table that no verb knows is an error where it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import Cli


@pytest.mark.parametrize(
    ("text", "line", "what", "hint"),
    [
        ('staet = "x"\n', 1, "'staet'", "did you mean `state`?"),
        ("# defaults\n\n[plan]\nrefersh = true\n", 4, "'refersh' in [plan]", "did you mean `refresh`?"),
        ("[aply]\nparallelism = 3\n", 1, "'aply'", "did you mean `apply`?"),
        ("refresh = true\n", 1, "'refresh'", None),
        ("[state.list]\nfoo = 1\n", 2, "'foo' in [state.list]", None),
        ("[state]\nlits = {json = true}\n", 2, "'lits' in [state]", "did you mean `list`?"),
    ],
)
def test_an_unknown_setting(cli: Cli, folder: Path, text: str, line: int, what: str, hint: str | None) -> None:
    (folder / "reconciler.toml").write_text(text)
    done = cli("status")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"{folder / 'reconciler.toml'}:{line}:1: error[unknown-key]: unknown setting {what}\n")
    assert hint is None or done.err.endswith(f"hint: {hint}\n")
    assert cli("status", "--json").data["error"]["problems"][0]["line"] == line


@pytest.mark.usefixtures("project")
def test_known_settings_with_hyphens_and_in_groups(cli: Cli, folder: Path) -> None:
    (folder / "reconciler.toml").write_text(
        'no-color = true\n[apply]\nlock-timeout = "2m"\naccept_data_loss = false\n[state.list]\njson = true\n'
    )
    assert cli("status").code == 0
    assert cli("state", "list").data == []
