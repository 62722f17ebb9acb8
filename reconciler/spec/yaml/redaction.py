"""Hides user-data in lines of a file that messages show.

If the text is valid YAML, the parser gives the positions of user-data. If it is not, the end of user-data is unknown,
so everything after its key is hidden. Text that may be user-data with wrong indentation is hidden too.
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
from reconciler.spec.yaml.events import ruamel_events

_KEYS = ("cloud_init", "user_data")
_SIMILARITY = 0.7
_WRITTEN_KEY = re.compile(r"""(?P<key>[A-Za-z0-9_-]{5,16})["']?[ \t]*:""")


class _Span(NamedTuple):
    """From a position after a key to the end of line `end`, counted from 1; None is the end of the file."""

    line: int
    column: int
    end: int | None


@dataclass(frozen=True)
class Redaction:
    """The parts of one text that are hidden."""

    spans: tuple[_Span, ...]

    def mask(self, line: int, written: str) -> str:
        """Return a line with its hidden part masked."""
        for span in self.spans:
            if line == span.line:
                return f"{written[: span.column - 1]} {MASK}"
            if span.line < line and (span.end is None or line <= span.end):
                return written[: len(written) - len(written.lstrip())] + MASK
        return written

    def follows(self, line: int) -> bool:
        """Whether user-data starts on this line or before: then an error on this line may be a part of user-data."""
        return any(span.line <= line for span in self.spans)


def redaction_of(text: str) -> Redaction:
    """Find the parts of a text to hide."""
    first = next(_mentions(text), None)
    if first is None:
        return Redaction(())
    try:
        return Redaction(tuple(_spans(list(ruamel_events(text)))))
    except (YAMLError, LookupError, ValueError, TypeError, AttributeError, AssertionError):
        return Redaction((first,))


@lru_cache(maxsize=2**12)  # files repeat their keys
def is_private(key: str) -> bool:
    """Return whether a key is a key of user-data, or is similar to one."""
    return bool(get_close_matches(key.lower().replace("-", "_"), _KEYS, n=1, cutoff=_SIMILARITY))


def after_key(written: str, column: int) -> str:
    """Return a line up to the key at a column (counted from 1), with a mask for its value."""
    end = written.find(":", column - 1)
    return written if end < 0 else f"{written[: end + 1]} {MASK}"


def _mentions(text: str) -> Iterator[_Span]:
    for number, line in enumerate(text.split("\n"), start=1):
        for found in _WRITTEN_KEY.finditer(line):
            if is_private(found["key"]):
                yield _Span(number, found.end() + 1, None)


def _spans(events: Iterable[Event]) -> Iterator[_Span]:
    """Yield the span of every value under a key of user-data; an empty value may continue on the lines that follow."""
    keys: list[Any] = []  # for each open collection: the key whose value comes next, None before a key, () in a list
    hidden: list[tuple[int, Any]] = []
    for event in events:
        if isinstance(event, CollectionEndEvent):
            keys.pop()
            if hidden and hidden[-1][0] == len(keys):
                yield _span(hidden.pop()[1], event)
            _next(keys)
        elif isinstance(event, CollectionStartEvent):
            if _is_expected(keys) and not hidden:
                hidden.append((len(keys), keys[-1]))
            keys.append(None if isinstance(event, MappingStartEvent) else ())
        elif isinstance(event, ScalarEvent):
            if keys and keys[-1] is None:
                keys[-1] = event
                continue
            if _is_expected(keys) and not hidden:
                yield _span(keys[-1], event)
            _next(keys)


def _is_expected(keys: list[Any]) -> bool:
    return bool(keys) and isinstance(keys[-1], ScalarEvent) and is_private(str(keys[-1].value))


def _next(keys: list[Any]) -> None:
    """Handle the end of a value: in a mapping, a key comes next."""
    if keys and isinstance(keys[-1], ScalarEvent):
        keys[-1] = None


def _span(key: Any, value: Any) -> _Span:
    """Return the span of a value; the parser may put its end at the start of the next line."""
    empty = isinstance(value, ScalarEvent) and not str(value.value).strip()
    last = value.end_mark.line + (0 if value.end_mark.column == 0 else 1)
    return _Span(key.end_mark.line + 1, key.end_mark.column + 2, None if empty else last)
