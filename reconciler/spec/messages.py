"""Converts pydantic's validation errors into problems with clear messages and positions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from reconciler.errors import Code, Problem
from reconciler.spec.models.cluster import (
    HOST_PATTERN,
    IDENTITY_PATTERN,
    INTERFACE_NAME_PATTERN,
    SHA256_PATTERN,
    USER_PATTERN,
)
from reconciler.spec.models.names import NAME_PATTERN
from reconciler.spec.quoting import did_you_mean, plural, shown
from reconciler.spec.yaml.document import Path
from reconciler.spec.yaml.source import Source

NAME_RULE = "a name is a lowercase letter a-z, then at most 30 lowercase letters, digits and hyphens"

_PATTERNS = {
    f"^{NAME_PATTERN}$": ("a name", NAME_RULE),
    INTERFACE_NAME_PATTERN: (
        "a network interface",
        "at most 15 letters, digits, dots, hyphens and underscores",
    ),
    HOST_PATTERN: (
        "a host name",
        "write a host's name or address, such as lab1.example.org, 10.0.10.1 or fd00::1; its port goes into `port`",
    ),
    USER_PATTERN: ("a user name", "at most 32 letters, digits, dots, hyphens and underscores, starting with a letter"),
    IDENTITY_PATTERN: ("an id of 4 to 32 small letters and digits", "`reconciler init` writes one"),
    SHA256_PATTERN: ("a SHA-256 digest", "64 digits 0-9 and a-f, as `sha256sum FILE` prints them"),
}

_OTHER_KEYS = {
    "cpu": "vcpus",
    "cpus": "vcpus",
    "cores": "vcpus",
    "host": "worker",
    "machines": "vms",
    "mem": "memory",
    "networks": "links",
    "nics": "interfaces",
    "nodes": "vms",
    "ram": "memory",
    "storage": "disk",
    "user": "owner",
    "user_data": "cloud_init",
    "userdata": "cloud_init",
}
"""What other tools call our keys."""

_LATER = {
    "size": "generated topologies will come in a later version",
    "depth": "generated topologies will come in a later version",
    "branching": "generated topologies will come in a later version",
    "rows": "generated topologies will come in a later version",
    "columns": "generated topologies will come in a later version",
}
_GENERATORS = frozenset({"linear", "ring", "star", "tree", "mesh", "grid"})

_EXPECTED = {
    "int_type": ("a whole number", "write only digits, without quotes, leading zeros, underscores or exponents"),
    "bool_type": ("true or false", "write true or false, without quotes; yes, no, on and off are text"),
    "string_type": ("text", "put it in quotes"),
    "dict_type": ("a mapping of keys and values", "write `{}` for an empty one"),
    "model_type": ("a mapping of keys and values", "write `{}` for an empty one"),
    "model_attributes_type": ("a mapping of keys and values", "write `{}` for an empty one"),
    "tuple_type": ("a list", "write each entry on a separate line after `- `, or all entries between `[` and `]`"),
    "list_type": ("a list", "write each entry on a separate line after `- `, or all entries between `[` and `]`"),
}

_NO_MAPPING = frozenset({"dict_type", "model_type", "model_attributes_type"})

_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


class Fault(NamedTuple):
    """An error of pydantic: its type, the path to the value, the value, and details that depend on the type."""

    kind: str
    path: Path
    value: Any
    context: Mapping[str, Any]


class _Message(NamedTuple):
    code: Code
    summary: str
    hint: str | None = None
    at_key: bool = False


def problems_of(error: ValidationError, model: type[BaseModel], source: Source) -> list[Problem]:
    """Return a problem for each error found when a file's document was validated as `model`."""
    found = []
    for item in error.errors(include_url=False):
        fault = Fault(item["type"], item["loc"], item["input"], item.get("ctx", {}))
        if _counts_the_valid_alone(fault):
            continue
        message = _message(fault, model)
        path = fault.path[:-1] if fault.kind == "missing" or _is_key(fault) else fault.path
        if _may_be_secret(fault) and source.follows_secret(path):
            found.append(_without_value(fault, message, path, source))
        else:
            found.append(source.problem(message.code, message.summary, path, message.hint, key=message.at_key))
    return found


def _counts_the_valid_alone(fault: Fault) -> bool:
    """Whether a list is long enough, and pydantic misses only the entries that it has reported already."""
    enough = fault.context.get("min_length", 1)
    return fault.kind == "too_short" and isinstance(fault.value, list) and len(fault.value) >= enough


def _may_be_secret(fault: Fault) -> bool:
    """Return whether a line of user-data with too little indentation could cause this fault."""
    return fault.kind == "extra_forbidden" or (fault.kind in _NO_MAPPING and isinstance(fault.value, str))


def _without_value(fault: Fault, message: _Message, path: Path, source: Source) -> Problem:
    """Return a problem that shows a key without its value."""
    if fault.kind == "extra_forbidden":
        return source.problem_at_key(message.code, message.summary, path, message.hint)
    summary = f"{write_path(fault.path)} must be {_EXPECTED[fault.kind][0]}, not text"
    hint = "if it is part of the user-data above, indent it further"
    return source.problem_at_key(message.code, summary, path, hint)


def write_path(path: Path) -> str:
    """Format a path for messages: `vms.web.vcpus`, `links[0].mtu`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if re.fullmatch(r"[A-Za-z0-9_-]{1,40}", step) else shown(step)
            text += f".{name}" if text else name
    return text or "the file"


def describe(value: object) -> str:
    """Describe a value for messages: its type, and its text as the user wrote it."""
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


def _message(fault: Fault, model: type[BaseModel]) -> _Message:
    if fault.kind in _EXPECTED:
        return _wrong_type(fault, model)
    if fault.kind in _BOUNDS:
        return _out_of_bounds(fault)
    named: Mapping[str, Callable[[Fault, type[BaseModel]], _Message]] = {
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
    return _Message(Code.WRONG_VALUE, f"{write_path(fault.path)} cannot be {describe(fault.value)}")


def _wrong_type(fault: Fault, model: type[BaseModel]) -> _Message:
    expected, hint = _EXPECTED[fault.kind]
    if _named(model_at(model, fault.path)) == "Link":
        expected, hint = "a link", "write a link as `[web:eth1, db:eth1]`"
    elif isinstance(fault.value, list | dict):
        hint = f"write {expected} here"
    elif fault.value is None and fault.kind in {"int_type", "bool_type", "string_type"}:
        hint = "write a value after the `:`, or leave the key out"
    summary = f"{write_path(fault.path)} must be {expected}, not {describe(fault.value)}"
    return _Message(Code.WRONG_TYPE, summary, hint)


def _out_of_bounds(fault: Fault) -> _Message:
    key, bound = _BOUNDS[fault.kind]
    summary = f"{write_path(fault.path)} must be {bound} {fault.context[key]}, not {fault.value}"
    return _Message(Code.WRONG_VALUE, summary)


def _unknown_key(fault: Fault, model: type[BaseModel]) -> _Message:
    key = str(fault.path[-1])
    parent = model_at(model, fault.path[:-1])
    where = f" in {write_path(fault.path[:-1])}" if fault.path[:-1] else ""
    if key in _LATER and _named(parent) in {"Slice", "Vm", "VmDefaults", "Link"}:
        return _Message(
            Code.NOT_YET, f"`{key}`{where} is not supported yet: {_LATER[key]}", "leave it out", at_key=True
        )
    known = [] if parent is None else list(parent.model_fields)
    meant = _OTHER_KEYS.get(key.lower().replace("-", "_"))
    hint = f"did you mean `{meant}`?" if meant in known else did_you_mean(key, known)
    return _Message(Code.UNKNOWN_KEY, f"unknown key {shown(key)}{where}", hint, at_key=True)


def _missing(fault: Fault, model: type[BaseModel]) -> _Message:
    parent, key = model_at(model, fault.path[:-1]), fault.path[-1]
    if isinstance(key, int):
        return _wrong_count(fault)
    field = None if parent is None else parent.model_fields.get(key)
    where = f" in {write_path(fault.path[:-1])}" if fault.path[:-1] else ""
    hint = f"{key}: {field.description}" if field is not None and field.description else None
    return _Message(Code.MISSING_KEY, f"missing key `{key}`{where}", hint, at_key=True)


def _wrong_count(fault: Fault, _model: type[BaseModel] | None = None) -> _Message:
    path = fault.path[:-1] if fault.kind == "missing" else fault.path
    if path and path[-1] == "endpoints":
        summary = f"{write_path(path[:-1])} must have two endpoints, each a VM's name or name:eth1"
        return _Message(Code.WRONG_VALUE, summary, "write a link as `[web:eth1, db:eth1]`")
    count = fault.context.get("min_length", 1)
    return _Message(Code.WRONG_VALUE, f"{write_path(path)} must have at least {plural(count, 'entry')}")


def _bad_pattern(fault: Fault, _model: type[BaseModel]) -> _Message:
    what, hint = _PATTERNS[fault.context["pattern"]]
    strange = next((char for char in str(fault.value)[:300] if not char.isascii()), None)
    if strange is not None:
        hint += f"; it contains {unicodedata.name(strange, 'a character without a name')} (U+{ord(strange):04X})"
    elif what == "a name" and (meant := _as_name(str(fault.value))):
        hint = f"did you mean `{meant}`? {hint}"
    path = fault.path[:-2] if _is_key(fault) else fault.path
    summary = f"{write_path(path)}: {shown(str(fault.value))} is not {what}"
    return _Message(
        Code.BAD_NAME if "name" in what or "interface" in what else Code.WRONG_VALUE, summary, hint, _is_key(fault)
    )


def _as_name(text: str) -> str | None:
    """Return a text as a name: in lower case, with hyphens; None if that is not one either."""
    meant = re.sub("[ _.-]+", "-", text.lower()).strip("-")
    return meant if re.fullmatch(NAME_PATTERN, meant) else None


def _not_a_choice(fault: Fault, _model: type[BaseModel]) -> _Message:
    path, value = write_path(fault.path), fault.value
    if fault.path == ("topology",) and isinstance(value, str) and value in _GENERATORS:
        summary = f"topology {value} is not supported yet: generated topologies will come in a later version"
        return _Message(Code.NOT_YET, summary, "write `topology: custom` and list the VMs and links")
    choices = str(fault.context["expected"]).replace("'", "")
    hint = None
    if fault.path == ("version",):
        hint = "this program supports version 1 of the file format; write `version: 1`"
    elif isinstance(value, str):
        hint = did_you_mean(value, re.split(r", | or ", choices), else_list=False)
    return _Message(Code.WRONG_VALUE, f"{path} must be {choices}, not {describe(value)}", hint)


def _refused_value(fault: Fault, _model: type[BaseModel]) -> _Message:
    hint = str(fault.context["error"])
    return _Message(Code.WRONG_VALUE, f"{write_path(fault.path)} cannot be {describe(fault.value)}", hint)


def _is_key(fault: Fault) -> bool:
    """Return whether the error is about a mapping's key; pydantic then adds `[key]` to the path of the value."""
    return len(fault.path) > 1 and fault.path[-1] == "[key]"


def _named(model: type[BaseModel] | None) -> str | None:
    return None if model is None else model.__name__


def model_at(root: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """Return the model of the mapping at a path, or None if there is none."""
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
    """Return a type without `Annotated` and `| None`."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in {Union, UnionType}:
            annotation = next(item for item in get_args(annotation) if item is not type(None))
        else:
            return annotation
