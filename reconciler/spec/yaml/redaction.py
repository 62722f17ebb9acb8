"""Hides user-data in lines of a file that messages show.

If the text is valid YAML, the parser gives the positions of user-data. If it is not, the end of user-data is unknown,
so everything after its key is hidden, as it is in a very long text. Text that may be user-data with wrong indentation
is hidden too.
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
_OTHERS = dict.fromkeys(code for code in range(128) if chr(code) not in "".join(_KEYS))
"""Deletes the letters that no key of user-data has."""

_FEWEST = 0.35 * (5 + len(_KEYS[1]))
"""A word with fewer letters of the keys than this is similar to none: see the ratio of difflib's SequenceMatcher."""

_SLOWLY = 2**16
"""The longest text, in characters, that the slow parser reads only to hide as little as possible."""

_MOST_SIMILAR = 2000
"""How many different words are compared; a file with more that are made of the letters of a key is no slice."""

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
    if len(text) > _SLOWLY:
        return Redaction((first,))
    try:
        return Redaction(tuple(_spans(list(ruamel_events(text)))))
    except (YAMLError, LookupError, ValueError, TypeError, AttributeError, AssertionError):
        return Redaction((first,))


@lru_cache(maxsize=2**12)  # files repeat their keys
def is_private(key: str) -> bool:
    """Return whether a key is a key of user-data, or is similar to one."""
    word = _normal(key)
    return _may_be_similar(word) and bool(get_close_matches(word, _KEYS, n=1, cutoff=_SIMILARITY))


def _normal(key: str) -> str:
    return key.lower().replace("-", "_")


def _may_be_similar(word: str) -> bool:
    """Return False for most words that are similar to no key, quickly."""
    return len(word.translate(_OTHERS)) >= _FEWEST


def after_key(written: str, column: int) -> str:
    """Return a line up to the key at a column (counted from 1), with a mask for its value."""
    end = written.find(":", column - 1)
    return written if end < 0 else f"{written[: end + 1]} {MASK}"


def _mentions(text: str) -> Iterator[_Span]:
    compared: set[str] = set()
    for number, line in enumerate(text.split("\n"), start=1):
        for found in _WRITTEN_KEY.finditer(line):
            word = _normal(found["key"])
            if not _may_be_similar(word):
                continue
            compared.add(word)
            if len(compared) > _MOST_SIMILAR or is_private(word):
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
