"""Checks that the examples in docs/errors.md are messages that the code prints, and that commands in pages exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.app import command

ROOT = Path(__file__).parents[2]
ERRORS = (ROOT / "docs/errors.md").read_text()
EXAMPLE = re.compile(r"^```\n(.*?)\n```$", re.DOTALL | re.MULTILINE)
MESSAGE = re.compile(r"(?:error\[[a-z-]+\]|hint): (.+)")
REFUSAL = re.compile(r"refuse '([^']+)'")  # in a script that runs on a host
LEAST = 12  # characters of fixed text: a shorter text matches almost anything
PAGES = ("README.md", "docs/errors.md", "docs/reliability.md", "docs/security.md", "docs/orchestrator-api.md")


def messages() -> list[str]:
    """Return every message and hint of the examples that have no excerpt; those with one have a test of their own."""
    examples = [example for example in EXAMPLE.findall(ERRORS) if " | " not in example]
    return [found[1] for example in examples for line in example.splitlines() if (found := MESSAGE.search(line))]


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield each string of a module as a pattern; a value that is filled in matches any text."""
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=parts):
                fixed = [part.value for part in parts if isinstance(part, ast.Constant)]
                if len("".join(map(str, fixed))) >= LEAST:
                    yield "".join(re.escape(str(p.value)) if isinstance(p, ast.Constant) else ".+" for p in parts)
            case ast.Constant(value=str(text)) if len(text) >= LEAST:
                yield re.escape(text)
            case _:
                pass


@cache
def patterns() -> tuple[re.Pattern[str], ...]:
    """Return a pattern for each message that the code can print, with the name of a host before it or not."""
    sources = [path.read_text() for path in sorted((ROOT / "reconciler").rglob("*.py"))]
    found = {text for source in sources for text in texts(ast.parse(source))}
    found |= {f"{re.escape(text)}.+" for source in sources for text in REFUSAL.findall(source)}
    return tuple(re.compile(f"(?:[a-z0-9-]+: )?{text}(?:: .+)?", re.DOTALL) for text in sorted(found))


@pytest.mark.parametrize("message", messages())
def test_an_example_is_a_message_of_the_code(message: str) -> None:
    assert any(pattern.fullmatch(message) for pattern in patterns()), "no message in reconciler/ has this form"


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_a_page_exist(page: str) -> None:
    shown = [a or b for a, b in re.findall(r"`([^`\n]+)`|^\$ (.+)$", (ROOT / page).read_text(), re.MULTILINE)]
    commands = [words[1:] for line in shown if (words := line.split("|")[0].split())[:1] == ["reconciler"]]
    assert commands
    assert [wrong for words in commands if (wrong := unknown(command(), words))] == []


def test_a_verb_or_an_option_that_does_not_exist_is_found() -> None:
    assert unknown(command(), ["plam"]) == "reconciler has no verb plam"
    assert unknown(command(), ["state", "list", "--all"]) == "list has no option --all"


def unknown(verb: Any, words: list[str]) -> str | None:
    """Return the first verb or option of a command line that does not exist, or None."""
    name = "reconciler"
    while hasattr(verb, "get_command") and words and re.fullmatch("[a-z]+", words[0]):
        verb, name, words = verb.get_command(None, words[0]), words[0], words[1:]
        if verb is None:
            return f"reconciler has no verb {name}"
    known = {"--help", "-h", *(option for each in verb.params for option in (*each.opts, *each.secondary_opts))}
    wrong = [word for word in words if word.startswith("-") and word.split("=")[0] not in known]
    return f"{name} has no option {wrong[0]}" if wrong else None
