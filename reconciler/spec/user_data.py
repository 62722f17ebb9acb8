"""Replaces the user-data in a parsed document by secrets, before anything else reads the document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.errors import Code, Problem
from reconciler.spec.messages import describe, write_path
from reconciler.spec.models.secret import Secret
from reconciler.spec.quoting import shown
from reconciler.spec.tree import Unreadable
from reconciler.spec.yaml.document import Path
from reconciler.spec.yaml.source import Source

KEY: Final = "cloud_init"

_FILE_HINT: Final = "write user-data into the file, or leave the key out"
_TEXT_HINT: Final = f"indent the text further than `{KEY}: |`, or leave the key out"


@dataclass(slots=True)
class ExtractedUserData:
    """What was found: whether the document contains user-data itself (`inline`), and the content of each named file."""

    inline: bool = False
    files: dict[str, Secret] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def extract_user_data(data: Any, source: Source, read: Callable[[str], bytes]) -> ExtractedUserData:
    """Replace the user-data of a document by secrets, both texts and `{file: path}`.

    `read` returns the content of a file, or raises Unreadable. User-data that cannot be used is removed from the
    document and reported as a problem.
    """
    found = ExtractedUserData()
    for path, layer in _layers(data):
        if KEY in layer:
            content = _content(layer.pop(KEY), (*path, KEY), source, read, found)
            if isinstance(content, Problem):
                found.problems.append(content)
            else:
                layer[KEY] = content
    return found


def _layers(data: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the mappings of a document that may contain user-data: defaults, groups and VMs."""
    if not isinstance(data, dict):
        return
    found: list[tuple[Path, Any]] = [(("defaults",), data.get("defaults"))]
    for part in ("groups", "vms"):
        if isinstance(layers := data.get(part), dict):
            found += [((part, name), layer) for name, layer in layers.items()]
    yield from ((path, layer) for path, layer in found if isinstance(layer, dict))


def _content(
    value: Any, path: Path, source: Source, read: Callable[[str], bytes], found: ExtractedUserData
) -> Secret | Problem:
    match value:
        case str():
            found.inline = True
            content, hint = Secret(value.encode()), _TEXT_HINT
        case {"file": str(name), **others} if name and not others:
            try:
                if name not in found.files:
                    found.files[name] = Secret(read(name))
            except Unreadable as error:
                summary = f"the file {shown(name)} of {write_path(path)} cannot be used: {error.summary}"
                return source.problem(Code.FILE_UNREADABLE, summary, (*path, "file"), error.hint)
            content, hint = found.files[name], _FILE_HINT
        case _:
            summary = f"{write_path(path)} must be user-data as text or {{file: path}}, not {_type_name(value)}"
            hint = f"write `{KEY}: |` and the text below it, or `{KEY}: {{file: web.yaml}}`"
            return source.problem(Code.WRONG_TYPE, summary, path, hint)
    if content.blank:
        return source.problem(Code.WRONG_VALUE, f"{write_path(path)} is empty", path, hint)
    return content


def _type_name(value: object) -> str:
    """Return the type of a value for a message, without its content."""
    match value:
        case None:
            return "empty"
        case dict() | list():
            return describe(value)
        case _:
            return "a number, true or false"
