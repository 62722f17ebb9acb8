"""Takes user-data out of a document before anything else reads it; opening the files it names is the caller's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.errors import Code, Problem
from reconciler.spec.messages import describe, write_path
from reconciler.spec.models.secret import Secret
from reconciler.spec.quoting import shown
from reconciler.spec.yaml.document import Path
from reconciler.spec.yaml.source import Source

KEY: Final = "cloud_init"

_IN_FILE: Final = "fill the file, or leave the key out"
_IN_TEXT: Final = f"indent it further than `{KEY}: |`, or leave the key out"


class Unreadable(Exception):
    """Why a file that was named cannot be read, and what to do about it."""

    def __init__(self, summary: str, hint: str | None = None) -> None:
        super().__init__(summary)
        self.summary, self.hint = summary, hint


@dataclass(slots=True)
class Gathered:
    """What was found: whether user-data is `written` in the document itself, and what its `files` hold, by name."""

    written: bool = False
    files: dict[str, Secret] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def gather(data: Any, source: Source, read: Callable[[str], bytes]) -> Gathered:
    """Put secrets in place of the user-data of a document, texts and `{file: path}` alike.

    `read` returns the content of a file that is named, or raises Unreadable. What cannot be taken is left out of the
    document and noted as a problem.
    """
    gathered = Gathered()
    for path, layer in _layers(data):
        if KEY in layer:
            content = _take(layer.pop(KEY), (*path, KEY), source, read, gathered)
            if isinstance(content, Problem):
                gathered.problems.append(content)
            else:
                layer[KEY] = content
    return gathered


def _layers(data: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the mappings of a document that may hold what VMs have in common, and the VMs."""
    if not isinstance(data, dict):
        return
    found: list[tuple[Path, Any]] = [(("defaults",), data.get("defaults"))]
    for part in ("groups", "vms"):
        if isinstance(layers := data.get(part), dict):
            found += [((part, name), layer) for name, layer in layers.items()]
    yield from ((path, layer) for path, layer in found if isinstance(layer, dict))


def _take(value: Any, path: Path, source: Source, read: Callable[[str], bytes], gathered: Gathered) -> Secret | Problem:
    match value:
        case str():
            gathered.written = True
            content, hint = Secret(value.encode()), _IN_TEXT
        case {"file": str(name), **others} if name and not others:
            try:
                if name not in gathered.files:
                    gathered.files[name] = Secret(read(name))
            except Unreadable as error:
                summary = f"the file {shown(name)} of {write_path(path)} cannot be used: {error.summary}"
                return source.problem(Code.FILE_UNREADABLE, summary, (*path, "file"), error.hint)
            content, hint = gathered.files[name], _IN_FILE
        case _:
            summary = f"{write_path(path)} must be user-data as text or {{file: path}}, not {_sort(value)}"
            hint = f"write `{KEY}: |` and the text below it, or `{KEY}: {{file: web.yaml}}`"
            return source.problem(Code.WRONG_TYPE, summary, path, hint)
    if content.blank:
        return source.problem(Code.WRONG_VALUE, f"{write_path(path)} is empty", path, hint)
    return content


def _sort(value: object) -> str:
    """Say what sort of thing stands there, and nothing of what it says."""
    match value:
        case None:
            return "nothing"
        case dict() | list():
            return describe(value)
        case _:
            return "a number, true or false"
