"""YAML text to parse events with positions; what they may say and what they mean is document.py's.

libyaml reads ten times as fast as ruamel.yaml's own parser, but it knows YAML 1.1 alone: it refuses the `:` in
`[web:eth1, db:eth1]`. So such colons are replaced by a character of the private use area, as wide as a colon, before
libyaml reads the text, and put back after. Texts with anything else that the two read differently go to ruamel.yaml's
parser, which also words every error: whether libyaml is installed changes the time and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.events import Event

try:
    from ruamel.yaml import cyaml
except ModuleNotFoundError:  # pragma: no cover - its wheels cover CPython; elsewhere the other parser does it all
    HAS_LIBYAML = False
else:
    HAS_LIBYAML = True

COLON = "\ue03a"
"""Stands for a colon inside a plain scalar while libyaml reads; a text that holds it is not given to libyaml."""

_INNER_COLON = re.compile(r"(?<=[A-Za-z0-9_-]):(?=[A-Za-z0-9_-])")
_READ_DIFFERENTLY = re.compile(rf"[\t\r|>{COLON}]|^%", re.MULTILINE)
"""Tabs, directives and block scalars: here the two take different texts for YAML; Windows' line ends to be safe."""

EventReader = Callable[[str], Iterator[Event]]


def suits_libyaml(text: str) -> bool:
    """Tell whether libyaml is here and reads this text as ruamel.yaml's parser does, or refuses it."""
    return HAS_LIBYAML and not _READ_DIFFERENTLY.search(text)


def quick_events(text: str) -> Iterator[Event]:
    """Yield libyaml's events, colons of plain scalars still replaced; raises YAMLError where it refuses the text."""
    parser: Any = cyaml.CParser(_INNER_COLON.sub(COLON, text))  # type: ignore[attr-defined]  # __all__ leaves it out
    while (event := parser.get_event()) is not None:
        yield event


def sure_events(text: str) -> Iterator[Event]:
    """Yield the events of ruamel.yaml's own parser; raises YAMLError where the text is not YAML 1.2."""
    yield from YAML(typ="safe", pure=True).parse(text)
