"""Reads ordinary documents quickly by libyaml, and leaves every other text to the complete reader.

It neither notes positions nor reports errors: document.py reads an invalid or unusual text again, and decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from reconciler.spec.yaml.events import COLON, is_safe_for_libyaml, libyaml_parser

_UNUSUAL: Final = re.compile(r"[&*!\\]")
"""Anchors, aliases, tags and escapes, if these characters are not just part of a text."""

_MAY_BE_CONVERTED: Final = "-0123456789tfn~"
"""First characters of the plain scalars that are not text; an empty scalar is one too."""


class Unusual(Exception):
    """The complete reader must read this text."""


def read_ordinary(text: str, most: int, depth: int, resolve: Callable[[str], Any]) -> Any:
    """Return the document of a text; raises Unusual where the complete reader must decide.

    `most` and `depth` limit the number of values and the nesting; `resolve` gives the value of a plain scalar.
    """
    # One character makes three events at most, so a short text cannot have too many values.
    if not is_safe_for_libyaml(text) or _UNUSUAL.search(text) or 3 * len(text) > most:
        raise Unusual
    try:
        return _Reader(libyaml_parser(text), resolve).document(depth)
    except YAMLError:
        raise Unusual from None


class _Reader:
    """Builds data from the events of one text."""

    def __init__(self, parser: Any, resolve: Callable[[str], Any]) -> None:
        self._next = parser.get_event
        self._resolve = resolve

    def document(self, depth: int) -> Any:
        """Return the only document of the text."""
        self._expect(StreamStartEvent)
        self._expect(DocumentStartEvent)
        found = self._value(self._next(), depth)
        self._expect(DocumentEndEvent)
        self._expect(StreamEndEvent)
        return found

    def _expect(self, kind: type[Any]) -> None:
        if type(self._next()) is not kind:
            raise Unusual

    def _value(self, event: Any, depth: int) -> Any:
        kind = type(event)
        if kind is ScalarEvent:
            return self._scalar(event)
        if depth == 0:
            raise Unusual
        if kind is MappingStartEvent:
            return self._mapping(depth - 1)
        if kind is SequenceStartEvent:
            return self._sequence(depth - 1)
        raise Unusual

    def _mapping(self, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        following = self._next
        while type(event := following()) is not MappingEndEvent:
            key = self._scalar(event) if type(event) is ScalarEvent else None
            if type(key) is not str or key in items or key == "<<":
                raise Unusual
            items[key] = self._value(following(), depth)
        return items

    def _sequence(self, depth: int) -> list[Any]:
        items: list[Any] = []
        following = self._next
        while type(event := following()) is not SequenceEndEvent:
            items.append(self._scalar(event) if type(event) is ScalarEvent else self._value(event, depth))
        return items

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if COLON in text:
            text = text.replace(COLON, ":")
        if event.style or text[:1] not in _MAY_BE_CONVERTED:
            return text
        return self._resolve(text)
