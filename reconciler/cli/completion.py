"""Completes words for a shell: verbs, options, and names of slices, resources and hosts.

It works from a table of the verbs and their options, which a test compares with them: importing the verbs takes longer
than a person waits. Whatever fails, it prints nothing.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from reconciler.cli.known_names import KnownNames

_ASKED: Final = "_RECONCILER_COMPLETE"
_TABLE: Final = Path(__file__).with_name("verbs.json")
_PLAIN: Final = re.compile(r"[\w./:@+-]+")
"""What a shell takes as one word as it is; other names are not offered."""

Table = dict[str, dict[str, Any]]
"""Each verb, with its group before it: the values of its arguments, its options and their values, its own verbs."""


class Line(NamedTuple):
    """A command line that is being written: the words before the one that is to be completed, and what it has so far.

    `breaks` are the characters at which the shell begins a word of its own: it replaces only what follows the last.
    """

    words: Sequence[str]
    begun: str
    breaks: str = ""


@dataclass
class _Parsed:
    """What the words before mean: the verb, its arguments, values of options, and the value that comes next."""

    verb: str = ""
    arguments: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    pending: str | None = None
    literal: bool = False


def is_asked(environment: Mapping[str, str]) -> bool:
    """Return whether a shell asks for completions in a form that is answered here."""
    return environment.get(_ASKED) in _SHELLS


def answer(environment: Mapping[str, str]) -> None:
    """Print the completions in the form of the shell that asks."""
    with suppress(Exception):  # a message would be printed into the line that is being written
        read, write = _SHELLS[environment[_ASKED]]
        line = read(environment)
        sys.stdout.write(write(environment, completions(line, environment)))
        sys.stdout.flush()


def completions(line: Line, environment: Mapping[str, str]) -> list[str]:
    """Return the words that may stand where the line ends, without what the shell keeps of the last one."""
    table: Table = json.loads(_TABLE.read_text(encoding="utf-8"))
    parsed = _parse(line.words, table)
    kept = max((line.begun.rfind(char) for char in line.breaks), default=-1) + 1
    found = {word for word in _candidates(parsed, line.begun, table, environment) if word.startswith(line.begun)}
    return sorted(word[kept:] for word in found if _PLAIN.fullmatch(word.replace("=", "")))


def _parse(words: Iterable[str], table: Table) -> _Parsed:
    parsed = _Parsed()
    for word in words:
        entry = table[parsed.verb]
        name, equals, value = word.partition("=")
        if parsed.pending is not None:
            parsed.values[parsed.pending] = word
            parsed.pending = None
        elif parsed.literal or not word.startswith("-") or word == "-":
            inner = f"{parsed.verb} {word}".strip()
            if entry["verbs"] and inner in table:
                parsed.verb = inner
            else:
                parsed.arguments.append(word)
        elif word == "--":
            parsed.literal = True
        elif equals:
            parsed.values[name] = value
        elif _value_of(word, parsed.verb, table):
            parsed.pending = word
    return parsed


def _value_of(option: str, verb: str, table: Table) -> str | None:
    """Return what an option takes, in the words of the help; the global options stand after any verb."""
    for entry in (table[verb], table[""]):
        if option in entry["options"]:
            return str(entry["options"][option] or "") or None
    return None


def _candidates(parsed: _Parsed, begun: str, table: Table, environment: Mapping[str, str]) -> Iterator[str]:
    entry = table[parsed.verb]
    names = KnownNames(environment, parsed.values)
    option, equals, _ = begun.partition("=")
    if parsed.pending is not None:
        yield from _values(_value_of(parsed.pending, parsed.verb, table) or "", begun, names)
    elif begun.startswith("-") and equals and not parsed.literal:
        value = _value_of(option, parsed.verb, table) or ""
        yield from (f"{option}={one}" for one in _values(value, begun.partition("=")[2], names))
    elif begun.startswith("-") and not parsed.literal:
        yield from (*entry["options"], *table[""]["options"], "--help")
    elif entry["verbs"]:
        yield from () if parsed.arguments else entry["verbs"]
    elif takes := entry["arguments"]:
        at = min(len(parsed.arguments), len(takes) - 1)
        value, repeated = takes[at].removesuffix("..."), takes[at].endswith("...")
        if repeated or len(parsed.arguments) < len(takes):
            given = set(parsed.arguments)
            yield from (one for one in _values(value, begun, names) if one not in given)


def _values(value: str, begun: str, names: KnownNames) -> Iterable[str]:
    """Return the values of what the help calls SLICE, HOST, ADDRESS or `one|other`; the shell itself knows files."""
    if value in {"SLICE", "SLICE|FILE", "PATH"}:
        return names.slices(begun)
    if value == "ADDRESS":
        return names.addresses(begun)
    if value == "HOST":
        return names.hosts()
    return value.split("|") if value.islower() else ()


def _bash_line(environment: Mapping[str, str]) -> Line:
    """Read the words of bash: it makes a word of each `:` and `=`, which are put together again."""
    text, position = environment["COMP_WORDS"], int(environment["COMP_CWORD"])
    words = text.split("\n") if "\n" in text else text.split()
    words = [*words[:position], words[position] if position < len(words) else ""]
    joined: list[str] = []
    for number, word in enumerate(words):
        glued = number > 1 and (word[:1] in {":", "="} or words[number - 1][-1:] in {":", "="})
        if glued and joined:
            joined[-1] += word
        else:
            joined.append(word)
    return Line([_unquoted(word) for word in joined[1:-1]], _unquoted(joined[-1]), ":=")


def _typed_line(environment: Mapping[str, str]) -> Line:
    """Read the line up to the cursor, as zsh and fish give it."""
    text = environment["_TYPER_COMPLETE_ARGS"]
    words = [_unquoted(word) for word in text.split()]
    return Line(words[1:], "") if text[-1:].isspace() else Line(words[1:-1], words[-1])


def _unquoted(word: str) -> str:
    try:
        return "".join(shlex.split(word))
    except ValueError:  # the closing quote is still to come
        return word.lstrip("'\"")


def _for_bash(_environment: Mapping[str, str], words: list[str]) -> str:
    return "".join(f"{word}\n" for word in words)


def _for_zsh(_environment: Mapping[str, str], words: list[str]) -> str:
    listed = "\n".join('"' + word.replace(":", r"\\:") + '"' for word in words)
    return f"_arguments '*: :(({listed}))'\n" if words else "_files\n"


def _for_fish(environment: Mapping[str, str], words: list[str]) -> str:
    """Answer fish, which first asks by an exit code whether there is anything, and else offers files."""
    if environment.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        sys.exit(0 if words else 1)
    return _for_bash(environment, words)


_SHELLS: Final[
    Mapping[str | None, tuple[Callable[[Mapping[str, str]], Line], Callable[[Mapping[str, str], list[str]], str]]]
] = {
    "complete_bash": (_bash_line, _for_bash),
    "complete_zsh": (_typed_line, _for_zsh),
    "complete_fish": (_typed_line, _for_fish),
}
