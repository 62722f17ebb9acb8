"""Reads a strict subset of YAML 1.2 into plain data, and finds the position of each value.

It refuses what hides meaning from a reviewer or can expand without limit: anchors, aliases, tags, merge keys,
directives, several documents, duplicate keys, keys that are not text, deep nesting, invisible characters. A plain
scalar is true, false, null or a whole number only if it is written exactly so; everything else is text: `no`, `0755`,
`1_000`, `12e3` and `52:54:00:12:34:56` are never converted.
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
from reconciler.spec.yaml.events import COLON, is_safe_for_libyaml, libyaml_events, read_differently, ruamel_events
from reconciler.spec.yaml.fast import Unusual, read_ordinary

MAX_SLOW = 2**17
"""The longest text, in characters, that ruamel.yaml's own parser reads: it takes 12 seconds for 1 MiB."""

_IN_A_FILE = "put it into a file of its own, as in `cloud_init: {file: user-data.yaml}`"
_ODD = {
    "\t": ("tabs", "use spaces"),
    "\r": ("Windows line ends", "save the file with Unix line ends"),
    "|": ("a block text (`|`)", _IN_A_FILE),
    ">": ("a block text (`>`)", _IN_A_FILE),
    "%": ("directives (`%`)", "leave them out"),
}
"""What the two parsers read differently, by its last character."""

MAX_DEPTH = 20
"""Levels of nested mappings and lists at most; a slice file needs five."""

MAX_VALUES = 200_000
"""Events in one file at most, such as keys and values: a slice of 10,000 VMs and 20,000 links has 120,000."""

Path = tuple[str | int, ...]
"""The keys and list indices that lead from the top of a document to a value."""

_INVISIBLE = re.compile(
    # Matches control characters, line separators, marks that change the direction of text (a reviewer would see
    # something else than what is read), surrogates and byte order marks.
    "[^\t\n\r -~\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|\r(?!\n)"
)
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_PLAIN_VALUES: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}

_YAML_ERRORS: tuple[tuple[str, str, str], ...] = (
    ("found character '\\t'", "a tab character where YAML allows only spaces", "replace the tab with spaces"),
    (
        "mapping values are not allowed",
        "`:` starts a key here, where no key is allowed",
        "put text that contains `: ` in quotes, and start a nested key on a new line",
    ),
    ("could not find expected ':'", "`:` is missing after a key", "write `key: value`"),
    ("expected ',' or ']'", "a list opened with `[` is not closed", "close it with `]`, and put `,` between entries"),
    (
        "expected ',' or '}'",
        "a mapping opened with `{` is not closed",
        "close it with `}`, and put `,` between entries",
    ),
    ("found unexpected end of stream", "a quoted text is not closed", "close it with the same quote"),
    ("sequence entries are not allowed", "a list entry is not allowed here", "start each `- ` entry on a new line"),
    ("expected <block end>", "this line does not fit the lines above it", "check the indentation and the quotes"),
    ("found character", "a value cannot start with this character", "put the text in quotes"),
    ("found unknown escape character", "unknown escape sequence", "write `\\\\` for a backslash"),
    (
        "expected the node content, but found '<stream end>'",
        "the file ends before this value is complete",
        "complete the value",
    ),
    ("expected escape sequence", "incomplete escape sequence", "write `\\\\` for a backslash"),
)


class Mark(NamedTuple):
    """A position in a text; line and column count from 1."""

    line: int
    column: int


class ValuePosition(NamedTuple):
    """The positions of a value and of its key; an empty value has the position of its key."""

    value: Mark
    key: Mark


class Refused(Exception):
    """A text is not accepted: the reason, the position and a hint, of which load.py makes a Problem."""

    def __init__(self, code: Code, summary: str, mark: Mark, hint: str | None = None) -> None:
        super().__init__(summary)
        self.code, self.summary, self.mark, self.hint = code, summary, mark, hint


class _TooManyValues(Refused):
    """A text contains more than MAX_VALUES values; both parsers count the same, so the quick one may decide."""


def read_document(text: str) -> Any:
    """Return the document of a text as dicts, lists, strings, integers, booleans and None; raises Refused."""
    _refuse_invisible(text)
    try:
        return read_ordinary(text, MAX_VALUES, MAX_DEPTH, resolve_plain)
    except Unusual:
        return _build(text).root


def positions(text: str) -> Mapping[Path, ValuePosition]:
    """Return the position of every value of a text that read_document accepts."""
    _refuse_invisible(text)
    found: dict[Path, ValuePosition] = {(): ValuePosition(Mark(1, 1), Mark(1, 1))}
    _build(text, found)
    return found


def resolve_plain(text: str) -> str | int | bool | None:
    """Return the value of a scalar without quotes."""
    if text in _PLAIN_VALUES:
        return _PLAIN_VALUES[text]
    return int(text) if _INTEGER.fullmatch(text) else text


def _build(text: str, found: dict[Path, ValuePosition] | None = None) -> _Builder:
    long = len(text) > MAX_SLOW
    if long:
        _refuse_odd(text)
    if is_safe_for_libyaml(text):
        try:
            return _Builder(found).run(libyaml_events(text))
        except (YAMLError, Refused) as error:
            if long or isinstance(error, _TooManyValues):
                raise _as_refused(error) from None
            # ruamel.yaml's own parser decides, and reports the problem.
    try:
        return _Builder(found).run(ruamel_events(text))
    except (YAMLError, LookupError, ValueError, TypeError, AttributeError, AssertionError) as error:
        # The parser raises these for some invalid texts, mostly in directives.
        raise _as_refused(error) from None


def _as_refused(error: Exception) -> Refused:
    match error:
        case Refused():
            return error
        case MarkedYAMLError():
            return _not_yaml(error)
        case _:
            return Refused(Code.YAML_SYNTAX, "not valid YAML", Mark(1, 1))


class _Open:
    """A mapping or list whose end was not read yet."""

    __slots__ = ("items", "key", "key_mark", "lines", "mark")

    def __init__(self, items: dict[str, Any] | list[Any], mark: Mark) -> None:
        self.items = items
        self.mark = mark
        self.key: str | None = None
        self.key_mark = mark
        self.lines: dict[str, int] = {}


class _Builder:
    """Builds data from events, and fills a dict of positions if it is given one."""

    def __init__(self, found: dict[Path, ValuePosition] | None = None) -> None:
        self.root: Any = None
        self._positions = found
        self._documents = 0
        self._stack: list[_Open] = []
        self._path: list[str | int] = []

    def run(self, events: Iterator[Event]) -> _Builder:
        """Read all events; raises Refused at the first event that is not accepted."""
        for count, event in enumerate(events):
            kind = type(event)
            if count > MAX_VALUES:
                summary = f"the file contains more than {MAX_VALUES:,} values"
                raise _TooManyValues(Code.YAML_FEATURE, summary, _mark(event), "split it into several slices")
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
            raise _feature(event, "several documents in one file", "put each into a separate file")
        if event.version or event.tags:
            raise _feature(event, "directives (`%YAML`, `%TAG`)", "leave them out; every file is read as YAML 1.2")

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
            summary = f"duplicate key {shown(key)} (first defined on line {top.lines[key]})"
            raise Refused(Code.DUPLICATE_KEY, summary, _mark(event), "delete or rename one of them")
        top.lines[key] = line
        top.key = key
        if self._positions is not None:
            top.key_mark = _mark(event)

    def _put(self, value: Any, event: Any | None) -> None:
        """Add a value to the open mapping or list; without an event, it has the position of its key."""
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
        if self._positions is not None:
            self._add_position(step, event)

    def _add_position(self, step: str | int | None, event: Any | None) -> None:
        if self._positions is None:
            return
        if not self._stack or step is None:
            mark = Mark(1, 1) if event is None else _mark(event)
            self._positions[()] = ValuePosition(mark, mark)
            return
        top = self._stack[-1]
        key = top.key_mark if isinstance(step, str) else (top.mark if event is None else _mark(event))
        self._positions[(*self._path, step)] = ValuePosition(key if event is None else _mark(event), key)

    def _open(self, event: Any, items: dict[str, Any] | list[Any]) -> None:
        if event.anchor is not None or event.tag is not None:
            raise _marked(event)
        if len(self._stack) == MAX_DEPTH:
            summary = f"mappings and lists are nested more than {MAX_DEPTH} levels deep"
            raise Refused(Code.YAML_FEATURE, summary, _mark(event), "no key needs that much nesting")
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


def _mark_at(text: str, at: int) -> Mark:
    return Mark(text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1)


def _feature(event: Any, what: str, hint: str) -> Refused:
    return Refused(Code.YAML_FEATURE, f"{what} are not allowed", _mark(event), hint)


def _marked(event: Any) -> Refused:
    if event.anchor is not None:
        return _feature(event, "anchors (`&name`)", "write the value out where it is used")
    return _feature(event, "tags (`!name`)", "leave it out, or put text that starts with `!` in quotes")


def _escaped_invisible(event: Any, text: str) -> Refused:
    found = _INVISIBLE.search(text)
    name = "" if found is None else _character(found[0])
    return Refused(Code.YAML_FEATURE, f"the text contains {name}", _mark(event), "remove it")


def _refuse_odd(text: str) -> None:
    """Refuse a long text that only the slow parser can read; no topology needs so much of it."""
    at = read_differently(text)
    if at is not None:
        what, hint = _ODD.get(text[at], ("this character", "remove it"))
        summary = f"a file of more than {MAX_SLOW // 1024} KiB must not contain {what}"
        raise Refused(Code.YAML_FEATURE, summary, _mark_at(text, at), hint)


def _refuse_invisible(text: str) -> None:
    found = _INVISIBLE.search(text)
    if found is None:
        return
    start = found.start()
    mark = _mark_at(text, start)
    if found[0] == "\ufeff":
        verb = "starts with" if start == 0 else "contains"
        hint = "save the file as UTF-8 without BOM"
        raise Refused(Code.YAML_FEATURE, f"the file {verb} a byte order mark (U+FEFF)", mark, hint)
    raise Refused(Code.YAML_FEATURE, f"the file contains {_character(found[0])}", mark, "remove it")


def _character(char: str) -> str:
    what = (
        "the invisible character" if unicodedata.category(char) in {"Zl", "Zp", "Cf", "Cn"} else "the control character"
    )
    return f"{what} U+{ord(char):04X}"


def _is_unclosed(problem: str) -> bool:
    """Return whether the error is where a construct starts, and not where the parser stopped."""
    return problem.startswith(("expected ',' or", "found unexpected end of stream", "could not find expected ':'"))


def _not_yaml(error: MarkedYAMLError) -> Refused:
    problem = str(error.problem or "")
    where, start = error.problem_mark, error.context_mark
    if where is None or (start is not None and start.line != where.line and _is_unclosed(problem)):
        where = start
    mark = Mark(1, 1) if where is None else Mark(where.line + 1, where.column + 1)
    for prefix, summary, hint in _YAML_ERRORS:
        if problem.startswith(prefix):
            return Refused(Code.YAML_SYNTAX, summary, mark, hint)
    return Refused(Code.YAML_SYNTAX, f"not valid YAML: {shown(problem, quote=False)}", mark)
