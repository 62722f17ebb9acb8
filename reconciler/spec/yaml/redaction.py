"""Which lines of a file may be shown to people: never user-data, nor what may be user-data that slipped out of place.

Positions are the parser's where the text is a document. Where it is none, nobody knows where user-data ends, so all
that follows the key is veiled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NamedTuple

from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    CollectionEndEvent,
    CollectionStartEvent,
    Event,
    MappingStartEvent,
    ScalarEvent,
)

from reconciler.spec.models.secret import MASK
from reconciler.spec.yaml.events import sure_events

_KEYS = ("cloud_init", "user_data")
_ALIKE = 0.7
_WRITTEN_KEY = re.compile(r"""(?P<key>[A-Za-z0-9_-]{5,16})["']?[ \t]*:""")


class _Span(NamedTuple):
    """From behind a key up to a line, both counted from 1; `end` is None where everything that follows is meant."""

    line: int
    column: int
    end: int | None


@dataclass(frozen=True)
class Redaction:
    """What is hidden of one text."""

    spans: tuple[_Span, ...]

    def over(self, line: int, written: str) -> str:
        """Return a line as it may be shown."""
        for span in self.spans:
            if line == span.line:
                return f"{written[: span.column - 1]} {MASK}"
            if span.line < line and (span.end is None or line <= span.end):
                return written[: len(written) - len(written.lstrip())] + MASK
        return written

    def follows(self, line: int) -> bool:
        """Whether user-data begins on this line or before it, so that what is amiss here may be a part of it."""
        return any(span.line <= line for span in self.spans)


def redaction_of(text: str) -> Redaction:
    """Find what is to be hidden of a text."""
    written = next(_mentions(text), None)
    if written is None:
        return Redaction(())
    try:
        return Redaction(tuple(_spans(list(sure_events(text)))))
    except (YAMLError, LookupError, ValueError, TypeError, AttributeError, AssertionError):
        return Redaction((written,))


@lru_cache(maxsize=2**12)  # files repeat their keys
def is_private(key: str) -> bool:
    """Tell whether a key is that of user-data, or one that was meant to be."""
    return bool(get_close_matches(key.lower().replace("-", "_"), _KEYS, n=1, cutoff=_ALIKE))


def after_key(written: str, column: int) -> str:
    """Return a line up to the key that stands at a column, counted from 1, with a mask for its value."""
    end = written.find(":", column - 1)
    return written if end < 0 else f"{written[: end + 1]} {MASK}"


def _mentions(text: str) -> Iterator[_Span]:
    for number, line in enumerate(text.split("\n"), start=1):
        for found in _WRITTEN_KEY.finditer(line):
            if is_private(found["key"]):
                yield _Span(number, found.end() + 1, None)


def _spans(events: Iterable[Event]) -> Iterator[_Span]:
    """Yield the span of every value under a key of user-data; of an empty one, what follows may have been meant."""
    keys: list[Any] = []  # of each open collection: the key whose value comes next, None before a key, () in a list
    hidden: list[tuple[int, Any]] = []
    for event in events:
        if isinstance(event, CollectionEndEvent):
            keys.pop()
            if hidden and hidden[-1][0] == len(keys):
                yield _span(hidden.pop()[1], event)
            _next(keys)
        elif isinstance(event, CollectionStartEvent):
            if _awaited(keys) and not hidden:
                hidden.append((len(keys), keys[-1]))
            keys.append(None if isinstance(event, MappingStartEvent) else ())
        elif isinstance(event, ScalarEvent):
            if keys and keys[-1] is None:
                keys[-1] = event
                continue
            if _awaited(keys) and not hidden:
                yield _span(keys[-1], event)
            _next(keys)


def _awaited(keys: list[Any]) -> bool:
    return bool(keys) and isinstance(keys[-1], ScalarEvent) and is_private(str(keys[-1].value))


def _next(keys: list[Any]) -> None:
    """Note that a value has ended: in a mapping the next thing is a key."""
    if keys and isinstance(keys[-1], ScalarEvent):
        keys[-1] = None


def _span(key: Any, value: Any) -> _Span:
    """Cover a value; its end may be marked at the start of the line after it."""
    empty = isinstance(value, ScalarEvent) and not str(value.value).strip()
    last = value.end_mark.line + (0 if value.end_mark.column == 0 else 1)
    return _Span(key.end_mark.line + 1, key.end_mark.column + 2, None if empty else last)
