"""pydantic's errors to problems in our own words, each at its place in the file; none of pydantic's text is shown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from reconciler.errors import Code, Problem
from reconciler.spec.models.cluster import HOST_PATTERN, INTERFACE_NAME_PATTERN, SHA256_PATTERN, USER_PATTERN
from reconciler.spec.models.names import NAME_PATTERN
from reconciler.spec.quoting import did_you_mean, shown
from reconciler.spec.yaml.document import Path
from reconciler.spec.yaml.source import Source

NAME_IN_WORDS = "a name is a small letter a-z, then at most 30 small letters, digits and hyphens"

_PATTERNS = {
    f"^{NAME_PATTERN}$": ("a name", NAME_IN_WORDS),
    INTERFACE_NAME_PATTERN: (
        "a network interface",
        "at most 15 letters, digits, dots, hyphens and underscores, as the kernel allows",
    ),
    HOST_PATTERN: ("a host name", "write a host's name or address, such as lab1.example.org or 10.0.10.1"),
    USER_PATTERN: ("a user name", "letters, digits, dots, hyphens and underscores, at most 32, a letter first"),
    SHA256_PATTERN: ("a SHA-256 sum", "64 digits 0-9 and a-f, as `sha256sum FILE` prints them"),
}

_LATER = {
    "renamed_from": "renaming in place comes with a later version",
    "size": "generated topologies come with a later version",
    "depth": "generated topologies come with a later version",
    "branching": "generated topologies come with a later version",
    "rows": "generated topologies come with a later version",
    "columns": "generated topologies come with a later version",
}
_GENERATORS = frozenset({"linear", "ring", "star", "tree", "mesh", "grid"})

_EXPECTED = {
    "int_type": ("a whole number", "write digits only, without quotes, leading zeros, underscores or exponents"),
    "bool_type": ("true or false", "write true or false, without quotes; yes, no, on and off are plain text"),
    "string_type": ("text", "put it in quotes"),
    "dict_type": ("a mapping of keys and values", "write `{}` for an empty one"),
    "model_type": ("a mapping of keys and values", "write `{}` for an empty one"),
    "model_attributes_type": ("a mapping of keys and values", "write `{}` for an empty one"),
    "tuple_type": ("a list", "write each entry on a line of its own after `- `, or all between `[` and `]`"),
    "list_type": ("a list", "write each entry on a line of its own after `- `, or all between `[` and `]`"),
}

_NO_MAPPING = frozenset({"dict_type", "model_type", "model_attributes_type"})

_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


class Fault(NamedTuple):
    """One of pydantic's errors: its type, the path to the value, the value, and what its type says besides."""

    kind: str
    path: Path
    value: Any
    context: Mapping[str, Any]


class _Words(NamedTuple):
    code: Code
    summary: str
    hint: str | None = None
    at_key: bool = False


def problems_of(error: ValidationError, model: type[BaseModel], source: Source) -> list[Problem]:
    """Return a problem for each of the errors that validating a file's document as `model` has found."""
    found = []
    for item in error.errors(include_url=False):
        fault = Fault(item["type"], item["loc"], item["input"], item.get("ctx", {}))
        words = _words(fault, model)
        path = fault.path[:-1] if fault.kind == "missing" or _is_key(fault) else fault.path
        if _may_be_secret(fault) and source.follows_secret(path):
            found.append(_unquoted(fault, words, path, source))
        else:
            found.append(source.problem(words.code, words.summary, path, words.hint, key=words.at_key))
    return found


def _may_be_secret(fault: Fault) -> bool:
    """Tell whether a line of user-data that was not indented enough would be this fault."""
    return fault.kind == "extra_forbidden" or (fault.kind in _NO_MAPPING and isinstance(fault.value, str))


def _unquoted(fault: Fault, words: _Words, path: Path, source: Source) -> Problem:
    """Return a problem that shows a key, but nothing of its value."""
    if fault.kind == "extra_forbidden":
        return source.problem_at_key(words.code, words.summary, path, words.hint)
    summary = f"{write_path(fault.path)} must be {_EXPECTED[fault.kind][0]}, not text"
    hint = "if it belongs to the user-data above, indent it further"
    return source.problem_at_key(words.code, summary, path, hint)


def write_path(path: Path) -> str:
    """Write a path as users read it: `vms.web.vcpus`, `links[0].mtu`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if re.fullmatch(r"[A-Za-z0-9_-]{1,40}", step) else shown(step)
            text += f".{name}" if text else name
    return text or "the file"


def describe(value: object) -> str:
    """Say in a few words what a value is, as users wrote it."""
    match value:
        case None:
            return "empty"
        case bool():
            return str(value).lower()
        case int():
            return f"the number {value}"
        case str():
            return f"the text {shown(value)}"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _words(fault: Fault, model: type[BaseModel]) -> _Words:
    if fault.kind in _EXPECTED:
        return _wrong_type(fault, model)
    if fault.kind in _BOUNDS:
        return _out_of_bounds(fault)
    named: Mapping[str, Callable[[Fault, type[BaseModel]], _Words]] = {
        "extra_forbidden": _unknown_key,
        "missing": _missing,
        "string_pattern_mismatch": _bad_pattern,
        "literal_error": _not_a_choice,
        "value_error": _refused_value,
        "too_short": _wrong_count,
        "too_long": _wrong_count,
    }
    if fault.kind in named:
        return named[fault.kind](fault, model)
    return _Words(Code.WRONG_VALUE, f"{write_path(fault.path)} cannot be {describe(fault.value)}")


def _wrong_type(fault: Fault, model: type[BaseModel]) -> _Words:
    expected, hint = _EXPECTED[fault.kind]
    if _named(model_at(model, fault.path)) == "Link":
        expected, hint = "a link", "write a link as `[web:eth1, db:eth1]`"
    elif isinstance(fault.value, list | dict):
        hint = f"write {expected} here"
    elif fault.value is None and fault.kind in {"int_type", "bool_type", "string_type"}:
        hint = "write a value after the `:`, or leave the key out"
    summary = f"{write_path(fault.path)} must be {expected}, not {describe(fault.value)}"
    return _Words(Code.WRONG_TYPE, summary, hint)


def _out_of_bounds(fault: Fault) -> _Words:
    key, words = _BOUNDS[fault.kind]
    summary = f"{write_path(fault.path)} must be {words} {fault.context[key]}, not {fault.value}"
    return _Words(Code.WRONG_VALUE, summary)


def _unknown_key(fault: Fault, model: type[BaseModel]) -> _Words:
    key = str(fault.path[-1])
    parent = model_at(model, fault.path[:-1])
    where = f" in {write_path(fault.path[:-1])}" if fault.path[:-1] else ""
    if key in _LATER and _named(parent) in {"Slice", "Vm", "VmDefaults", "Link"}:
        return _Words(Code.NOT_YET, f"`{key}`{where} is not understood yet: {_LATER[key]}", "leave it out", at_key=True)
    known = [] if parent is None else list(parent.model_fields)
    return _Words(Code.UNKNOWN_KEY, f"unknown key {shown(key)}{where}", did_you_mean(key, known), at_key=True)


def _missing(fault: Fault, model: type[BaseModel]) -> _Words:
    parent, key = model_at(model, fault.path[:-1]), fault.path[-1]
    if isinstance(key, int):
        return _wrong_count(fault)
    field = None if parent is None else parent.model_fields.get(key)
    hint = f"{key}: {field.description}" if field is not None and field.description else None
    return _Words(Code.MISSING_KEY, f"{write_path(fault.path[:-1])} lacks the key `{key}`", hint, at_key=True)


def _wrong_count(fault: Fault, _model: type[BaseModel] | None = None) -> _Words:
    path = fault.path[:-1] if fault.kind == "missing" else fault.path
    if path and path[-1] == "endpoints":
        summary = f"{write_path(path[:-1])} must have two ends, each a VM's name or name:eth1"
        return _Words(Code.WRONG_VALUE, summary, "write a link as `[web:eth1, db:eth1]`")
    count = fault.context.get("min_length", 1)
    return _Words(Code.WRONG_VALUE, f"{write_path(path)} must have at least {count} entr{'y' if count == 1 else 'ies'}")


def _bad_pattern(fault: Fault, _model: type[BaseModel]) -> _Words:
    what, hint = _PATTERNS[fault.context["pattern"]]
    strange = next((char for char in str(fault.value)[:300] if not char.isascii()), None)
    if strange is not None:
        hint += f"; here stands {unicodedata.name(strange, 'a letter without a name')} (U+{ord(strange):04X})"
    path = fault.path[:-2] if _is_key(fault) else fault.path
    summary = f"{write_path(path)}: {shown(str(fault.value))} is not {what}"
    return _Words(
        Code.BAD_NAME if "name" in what or "interface" in what else Code.WRONG_VALUE, summary, hint, _is_key(fault)
    )


def _not_a_choice(fault: Fault, _model: type[BaseModel]) -> _Words:
    path, value = write_path(fault.path), fault.value
    if fault.path == ("topology",) and isinstance(value, str) and value in _GENERATORS:
        summary = f"topology {value} is not understood yet: generated topologies come with a later version"
        return _Words(Code.NOT_YET, summary, "write `topology: custom` and list the VMs and links")
    choices = str(fault.context["expected"]).replace("'", "")
    hint = None
    if fault.path == ("version",):
        hint = "this program reads version 1 of the file format; write `version: 1`"
    elif isinstance(value, str):
        hint = did_you_mean(value, re.split(r", | or ", choices), else_list=False)
    return _Words(Code.WRONG_VALUE, f"{path} must be {choices}, not {describe(value)}", hint)


def _refused_value(fault: Fault, _model: type[BaseModel]) -> _Words:
    hint = str(fault.context["error"])
    return _Words(Code.WRONG_VALUE, f"{write_path(fault.path)} cannot be {describe(fault.value)}", hint)


def _is_key(fault: Fault) -> bool:
    """Tell whether the error is about a mapping's key; pydantic puts `[key]` behind the path to its value."""
    return len(fault.path) > 1 and fault.path[-1] == "[key]"


def _named(model: type[BaseModel] | None) -> str | None:
    return None if model is None else model.__name__


def model_at(root: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """Return the model that reads the mapping at a path, or None where a path leads elsewhere."""
    here: Any = root
    for step in path:
        here = _bare(here)
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(step))
            here = None if field is None else field.annotation
        elif get_origin(here) is dict:
            here = get_args(here)[1]
        elif get_origin(here) is tuple:
            here = get_args(here)[0]
        else:
            return None
    here = _bare(here)
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def _bare(annotation: Any) -> Any:
    """Take `Annotated` and `| None` off a type."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in {Union, UnionType}:
            annotation = next(item for item in get_args(annotation) if item is not type(None))
        else:
            return annotation
