"""Parses YAML text into events with positions, by libyaml if it reads the text as ruamel.yaml does.

libyaml is ten times as fast as ruamel.yaml's own parser, but it supports only YAML 1.1: it refuses the `:` in
`[web:eth1, db:eth1]`. Such colons are replaced by a character of the private use area before libyaml reads the text,
and restored afterwards. Other text that the two parsers read differently goes to ruamel.yaml's parser, which also
reports every error. Whether libyaml is installed changes only the time, never the result, but for the words of an error
in a long text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.events import Event

try:
    from ruamel.yaml import cyaml
except ModuleNotFoundError:  # pragma: no cover - there are wheels for CPython only; elsewhere the other parser is used
    HAS_LIBYAML = False
else:
    HAS_LIBYAML = True

COLON = "\ue03a"
"""Replaces a colon inside a plain scalar while libyaml reads; libyaml is not used for text that contains it."""

_INNER_COLON = re.compile(r"(?<=[A-Za-z0-9_-]):(?=[A-Za-z0-9_-])")
_SUSPECT = re.compile(rf"[\t\r|>%{COLON}]")
"""Characters of which _READ_DIFFERENTLY needs one: a quick test for the texts that have none."""

_READ_DIFFERENTLY = re.compile(rf"[\t\r{COLON}]|(?:^|[^\w-])[|>]|^%", re.MULTILINE)
"""The parsers disagree on tabs, directives and block scalars; Windows line ends are excluded to be safe.

A `|` or `>` after a letter, digit or hyphen is part of a text, such as the arrow in a comment.
"""

EventReader = Callable[[str], Iterator[Event]]


def is_safe_for_libyaml(text: str) -> bool:
    """Return whether libyaml is installed and reads this text as ruamel.yaml's parser does, or refuses it."""
    return HAS_LIBYAML and read_differently(text) is None


def read_differently(text: str) -> int | None:
    """Return the position of the first character that the two parsers may read differently, or None."""
    found = _READ_DIFFERENTLY.search(text) if _SUSPECT.search(text) else None
    return None if found is None else found.end() - 1


def libyaml_parser(text: str) -> Any:
    """Return a libyaml parser of a text, in which the colons of plain scalars are replaced."""
    return cyaml.CParser(_INNER_COLON.sub(COLON, text))  # type: ignore[attr-defined]  # __all__ leaves it out


def libyaml_events(text: str) -> Iterator[Event]:
    """Yield libyaml's events, with the colons of plain scalars still replaced; raises YAMLError."""
    parser = libyaml_parser(text)
    while (event := parser.get_event()) is not None:
        yield event


def ruamel_events(text: str) -> Iterator[Event]:
    """Yield the events of ruamel.yaml's own parser; raises YAMLError if the text is not YAML 1.2."""
    yield from YAML(typ="safe", pure=True).parse(text)
