"""The program in docs/orchestrator-api.md runs as it is shown, and gets the values that its comments state."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.site import Site

pytestmark = [pytest.mark.lab, pytest.mark.guests]

PAGE = Path(__file__).parents[2] / "docs" / "orchestrator-api.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STATED = re.compile(r"# (?P<expression>.*?)\s*→ (?P<value>.*)")


def pieces(block: str) -> Iterator[tuple[str, str, str]]:
    """Yield the statements of a block up to each comment that states a value, the expression that has it, and it."""
    code: list[str] = []
    for line in block.splitlines():
        if stated := STATED.fullmatch(line):
            whole = "\n".join(code).strip()
            expression, value = stated["expression"], stated["value"]
            yield (whole, expression, value) if expression else ("", whole, value)
            code = []
        else:
            code.append(line)
    yield "\n".join(code), "", ""


def test_the_program_of_the_page_gets_the_stated_values(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECONCILER_CLUSTER", str(site.cluster))
    monkeypatch.setenv("RECONCILER_STATE", str(site.state))
    names: dict[str, Any] = {}
    stated = 0
    for block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        for code, expression, value in pieces(block):
            exec(code, names)  # noqa: S102 - the page's own code
            if expression:
                assert eval(expression, names) == ast.literal_eval(value), (code, expression)  # noqa: S307 - likewise
                stated += 1
        if "deploy_slice" in block:
            site.in_sync(tmp_path / "slices")
            vms = site.vms("my-slice")
            assert vms["vm1"].run("true") == ""
            vms["vm2"].settle()
            assert vms["vm1"].pings_within(10, vms["vm2"].ip("eth1"))
    assert stated == 25
    assert not list((tmp_path / "slices").rglob("*.yaml"))
