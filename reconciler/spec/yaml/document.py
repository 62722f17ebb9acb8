"""YAML text to plain data and positions, by a strict core of YAML 1.2; what keys mean is left to the models.

Refused, because a reviewer cannot see what they do or because they can be made to explode: anchors, aliases, tags,
merge keys, directives, several documents, duplicate keys, keys that are not text, deep nesting, invisible characters. A
plain scalar is true, false, null or a whole number when written exactly so, and text in every other case: `no`, `0755`,
`1_000`, `12e3` and `52:54:00:12:34:56` are never turned into something else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from reconciler.errors import Code
from reconciler.spec.quoting import shown
from reconciler.spec.yaml.events import COLON, quick_events, suits_libyaml, sure_events

MAX_DEPTH = 20
"""Mappings and lists inside one another; a slice file needs five."""

MAX_VALUES = 200_000
"""Keys, values and ends of mappings and lists in one file: a slice of 10,000 VMs and 20,000 links has 120,000."""

Path = tuple[str | int, ...]
"""The keys and list indices that lead from the top of a document to a value."""

_INVISIBLE = re.compile(
    # What remains of Unicode without control characters, line separators, marks that turn the direction of writing
    # (they show a reviewer something else than what is read), surrogates and byte order marks.
    "[^\t\n\r -~\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|\r(?!\n)"
)
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}

_YAML_ERRORS: tuple[tuple[str, str, str], ...] = (
    ("found character '\\t'", "a tab stands where YAML takes spaces only", "replace the tab by spaces"),
    (
        "mapping values are not allowed",
        "a `:` makes a key here, where no key can stand",
        "put text that holds `: ` in quotes, and a nested key on a line of its own",
    ),
    ("could not find expected ':'", "a key without its `:`", "write `key: value`"),
    ("expected ',' or ']'", "a list opened with `[` is not closed", "close it with `]`, and put `,` between entries"),
    (
        "expected ',' or '}'",
        "a mapping opened with `{` is not closed",
        "close it with `}`, and put `,` between entries",
    ),
    ("found unexpected end of stream", "a quoted text is not closed", "close it with the same quote"),
    ("sequence entries are not allowed", "a list entry stands where none can be", "put `- ` on a line of its own"),
    ("expected <block end>", "this line does not fit what stands above it", "check the indentation and the quotes"),
    ("found character", "this character cannot begin a value", "put the text in quotes"),
    ("found unknown escape character", "an escape that YAML does not know", "write `\\\\` for a backslash"),
    ("expected the node content, but found '<stream end>'", "the file ends before this is complete", "complete it"),
    ("expected escape sequence", "an escape that is not complete", "write `\\\\` for a backslash"),
)


class Mark(NamedTuple):
    """A place in a text; line and column count from 1."""

    line: int
    column: int


class ValuePosition(NamedTuple):
    """Where a value stands, and where its key does; an empty value stands where its key does."""

    value: Mark
    key: Mark


class Refused(Exception):
    """A text that is not a document of ours: why, where, what to do; load.py makes a Problem of it."""

    def __init__(self, code: Code, summary: str, mark: Mark, hint: str | None = None) -> None:
        super().__init__(summary)
        self.code, self.summary, self.mark, self.hint = code, summary, mark, hint


def read_document(text: str) -> Any:
    """Return the one document of a text as dicts, lists, text, whole numbers, booleans and None; raises Refused."""
    return _build(text).root


def positions(text: str) -> Mapping[Path, ValuePosition]:
    """Return the place of every value of a text that read_document takes."""
    places: dict[Path, ValuePosition] = {(): ValuePosition(Mark(1, 1), Mark(1, 1))}
    _build(text, places)
    return places


def resolve_plain(text: str) -> str | int | bool | None:
    """Return what a scalar without quotes means."""
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _INTEGER.fullmatch(text) else text


def _build(text: str, places: dict[Path, ValuePosition] | None = None) -> _Builder:
    _refuse_invisible(text)
    if suits_libyaml(text):
        try:
            return _Builder(places).run(quick_events(text))
        except (YAMLError, Refused):
            pass  # ruamel.yaml's own parser decides, and words the problem
    try:
        return _Builder(places).run(sure_events(text))
    except MarkedYAMLError as error:
        raise _not_yaml(error) from None
    except (YAMLError, LookupError, ValueError, TypeError, AttributeError, AssertionError):
        # Random text makes the parser trip over itself, in directives above all.
        raise Refused(Code.YAML_SYNTAX, "this file is not YAML", Mark(1, 1)) from None


class _Open:
    """A mapping or list whose end has not been read yet."""

    __slots__ = ("items", "key", "key_mark", "lines", "mark")

    def __init__(self, items: dict[str, Any] | list[Any], mark: Mark) -> None:
        self.items = items
        self.mark = mark
        self.key: str | None = None
        self.key_mark = mark
        self.lines: dict[str, int] = {}


class _Builder:
    """Makes data of events, and notes places when it is given a dict for them."""

    def __init__(self, places: dict[Path, ValuePosition] | None = None) -> None:
        self.root: Any = None
        self._places = places
        self._documents = 0
        self._stack: list[_Open] = []
        self._path: list[str | int] = []

    def run(self, events: Iterator[Event]) -> _Builder:
        """Read all events; raises Refused at the first that has no place in a document of ours."""
        for count, event in enumerate(events):
            kind = type(event)
            if count > MAX_VALUES:
                summary = f"the file holds more than {MAX_VALUES:,} values"
                raise Refused(Code.YAML_FEATURE, summary, _mark(event), "split it into several slices")
            if kind is ScalarEvent:
                self._scalar(event)
            elif kind is SequenceStartEvent:
                self._open(event, [])
            elif kind is MappingStartEvent:
                self._open(event, {})
            elif kind is SequenceEndEvent or kind is MappingEndEvent:
                self._close()
            elif kind is DocumentStartEvent:
                self._document(event)
            elif kind is AliasEvent:
                raise _feature(event, "aliases (`*name`)", "write the value out")
        return self

    def _document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            raise _feature(event, "several documents in one file", "put each into a file of its own")
        if event.version or event.tags:
            raise _feature(event, "directives (`%YAML`, `%TAG`)", "leave them out: every file is YAML 1.2")

    def _scalar(self, event: Any) -> None:
        if event.anchor is not None or event.tag is not None:
            raise _marked(event)
        text: str = event.value.replace(COLON, ":") if COLON in event.value else event.value
        if _INVISIBLE.search(text):
            raise _escaped_invisible(event, text)
        value = text if event.style else resolve_plain(text)
        top = self._stack[-1] if self._stack else None
        if top is not None and type(top.items) is dict and top.key is None:
            self._take_key(top, value, event)
        else:
            self._put(value, None if value is None else event)

    def _take_key(self, top: _Open, key: Any, event: Any) -> None:
        if type(key) is not str:
            raise Refused(Code.WRONG_TYPE, f"a key must be text, not {_kind(key)}", _mark(event), "put it in quotes")
        if key == "<<" and not event.style:
            raise _feature(event, "merge keys (`<<`)", "write the keys out, or use `defaults` and `groups`")
        line = event.start_mark.line + 1
        if key in top.lines:
            summary = f"the key {shown(key)} stands twice in one mapping, first on line {top.lines[key]}"
            raise Refused(Code.DUPLICATE_KEY, summary, _mark(event), "keep one of the two")
        top.lines[key] = line
        top.key = key
        if self._places is not None:
            top.key_mark = _mark(event)

    def _put(self, value: Any, event: Any | None) -> None:
        """Hang a value under the container that is open; without an event it stands where its key does."""
        step: str | int | None = None
        if not self._stack:
            self.root = value
        else:
            top = self._stack[-1]
            if isinstance(top.items, list):
                step = len(top.items)
                top.items.append(value)
            elif top.key is not None:
                step = top.key
                top.items[step] = value
                top.key = None
        if self._places is not None:
            self._note(step, event)

    def _note(self, step: str | int | None, event: Any | None) -> None:
        if self._places is None:
            return
        if not self._stack or step is None:
            mark = Mark(1, 1) if event is None else _mark(event)
            self._places[()] = ValuePosition(mark, mark)
            return
        top = self._stack[-1]
        key = top.key_mark if isinstance(step, str) else (top.mark if event is None else _mark(event))
        self._places[(*self._path, step)] = ValuePosition(key if event is None else _mark(event), key)

    def _open(self, event: Any, items: dict[str, Any] | list[Any]) -> None:
        if event.anchor is not None or event.tag is not None:
            raise _marked(event)
        if len(self._stack) == MAX_DEPTH:
            summary = f"mappings and lists are nested more than {MAX_DEPTH} deep"
            raise Refused(Code.YAML_FEATURE, summary, _mark(event), "no key needs so much nesting")
        top = self._stack[-1] if self._stack else None
        step: str | int | None = None
        if top is not None and type(top.items) is dict:
            if top.key is None:
                what = _kind(items)
                raise Refused(Code.WRONG_TYPE, f"a key must be text, not {what}", _mark(event), "write `key: value`")
            step = top.key
        elif top is not None:
            step = len(top.items)
        self._put(items, event)
        if step is not None:
            self._path.append(step)
        self._stack.append(_Open(items, _mark(event)))

    def _close(self) -> None:
        self._stack.pop()
        if self._path:
            self._path.pop()


def _kind(value: object) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true or false"
        case int():
            return "a number"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _mark(event: Any) -> Mark:
    start = event.start_mark
    return Mark(start.line + 1, start.column + 1)


def _feature(event: Any, what: str, hint: str) -> Refused:
    return Refused(Code.YAML_FEATURE, f"{what} are not allowed", _mark(event), hint)


def _marked(event: Any) -> Refused:
    if event.anchor is not None:
        return _feature(event, "anchors (`&name`)", "write the value out where it is used")
    return _feature(event, "tags (`!name`)", "leave it out; text that begins with `!` goes in quotes")


def _escaped_invisible(event: Any, text: str) -> Refused:
    found = _INVISIBLE.search(text)
    name = "" if found is None else _character(found[0])
    return Refused(Code.YAML_FEATURE, f"the text holds {name}", _mark(event), "take it out")


def _refuse_invisible(text: str) -> None:
    found = _INVISIBLE.search(text)
    if found is None:
        return
    start = found.start()
    mark = Mark(text.count("\n", 0, start) + 1, start - (text.rfind("\n", 0, start) + 1) + 1)
    if found[0] == "\ufeff":
        where = "begins with" if start == 0 else "holds"
        hint = "save it as UTF-8 without BOM"
        raise Refused(Code.YAML_FEATURE, f"the file {where} a byte order mark (U+FEFF)", mark, hint)
    raise Refused(Code.YAML_FEATURE, f"the file holds {_character(found[0])}", mark, "take it out")


def _character(char: str) -> str:
    what = (
        "the invisible character" if unicodedata.category(char) in {"Zl", "Zp", "Cf", "Cn"} else "the control character"
    )
    return f"{what} U+{ord(char):04X}"


def _is_unclosed(problem: str) -> bool:
    """Tell whether what was begun on an earlier line is to blame, and not the place where the parser gave up."""
    return problem.startswith(("expected ',' or", "found unexpected end of stream", "could not find expected ':'"))


def _not_yaml(error: MarkedYAMLError) -> Refused:
    problem = str(error.problem or "")
    where, begun = error.problem_mark, error.context_mark
    if where is None or (begun is not None and begun.line != where.line and _is_unclosed(problem)):
        where = begun
    mark = Mark(1, 1) if where is None else Mark(where.line + 1, where.column + 1)
    for beginning, summary, hint in _YAML_ERRORS:
        if problem.startswith(beginning):
            return Refused(Code.YAML_SYNTAX, summary, mark, hint)
    return Refused(Code.YAML_SYNTAX, f"this is not YAML: {shown(problem, quote=False)}", mark)
