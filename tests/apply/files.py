"""The smallest real kinds of resource: a file with a line in it, and a file that is uploaded; with their drivers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from reconciler.apply.drivers.driver import Driver
from reconciler.apply.transport.command import Command, Operation, Result, Upload, script
from reconciler.errors import ForeignObject
from reconciler.plan.model import Action, Step, StepId
from reconciler.plan.resources import Kind, Resource, noun
from reconciler.spec.models.names import Address, HostName

FOREIGN = "not ours"


@noun
class File(Resource):
    """A file that holds `line`; `broken` makes its command fail, `seconds` makes it slow, `log` notes each creation."""

    kind: ClassVar[Kind] = Kind("file")

    path: str
    line: str
    log: str
    broken: bool = False
    seconds: float = 0


@noun
class Blob(Resource):
    """A file that is uploaded, and made read-only after that."""

    kind: ClassVar[Kind] = Kind("blob")

    path: str
    sha256: str


_READ = 'for f; do if [ -e "$f" ]; then echo "present $(cat "$f")"; else echo absent; fi; done'


def probe(files: Sequence[File | Blob]) -> tuple[Command, ...]:
    return (script(_READ, *(file.path for file in files)),)


def parse(files: Sequence[File | Blob], results: Sequence[Result]) -> Mapping[Address, str | None]:
    lines = results[0].output.splitlines()
    facts = [None if line == "absent" else line.removeprefix("present ") for line in lines]
    return {file.address: fact for file, fact in zip(files, facts, strict=True)}


def ensure_file(file: File, fact: str | None, before: File | None) -> tuple[Operation, ...]:
    if fact == file.line:
        return ()
    if fact == FOREIGN:
        raise ForeignObject(file.host, f"{file.path} is not ours")
    if file.broken:
        return (script("echo no room for this >&2; exit 1"),)
    note = f"{file.address} {before.line if before else '-'} {file.line}"
    return (
        script('sleep "$1"', str(file.seconds)),
        Command(("tee", file.path), stdin=file.line),
        script('echo "$1" >>"$2"', note, file.log),
    )


def remove_file(file: File, fact: str | None) -> tuple[Operation, ...]:
    return () if fact is None else (script('rm "$1"; echo "$2" >>"$3"', file.path, f"-{file.address}", file.log),)


def observed_file(file: File, fact: str | None) -> Mapping[str, Any] | None:
    return None if fact is None else {"line": fact}


def ensure_blob(blob: Blob, fact: str | None, _: Blob | None) -> tuple[Operation, ...]:
    if fact is not None:
        return ()
    folder = str(Path(blob.path).parent)
    return (Command(("mkdir", "-p", folder)), Upload(blob.path, blob.sha256), Command(("chmod", "444", blob.path)))


def remove_blob(blob: Blob, fact: str | None) -> tuple[Operation, ...]:
    return () if fact is None else (Command(("rm", blob.path)),)


def observed_blob(blob: Blob, fact: str | None) -> Mapping[str, Any] | None:
    return None if fact is None else {}


DRIVERS: Mapping[Kind, Driver[Any, Any]] = {
    File.kind: Driver(File, probe, parse, ensure_file, remove_file, observed_file),
    Blob.kind: Driver(Blob, probe, parse, ensure_blob, remove_blob, observed_blob),
}


def file(folder: Path, name: str, line: str = "here", *, broken: bool = False, seconds: float = 0) -> File:
    """Return a file in a host's folder; the folder's name is the host's."""
    return File(
        address=Address(f"file/{name}"),
        slice=None,
        host=HostName(folder.name),
        path=str(folder / name),
        line=line,
        log=str(folder / "log"),
        broken=broken,
        seconds=seconds,
    )


def create(number: int, resource: Resource, *needs: int) -> Step:
    return Step(
        StepId(number), Action.CREATE, resource.address, resource.host, None, resource, tuple(map(StepId, needs))
    )


def update(number: int, before: Resource, after: Resource, *needs: int) -> Step:
    return Step(StepId(number), Action.UPDATE, after.address, after.host, before, after, tuple(map(StepId, needs)))


def delete(number: int, resource: Resource, *needs: int) -> Step:
    return Step(
        StepId(number), Action.DELETE, resource.address, resource.host, resource, None, tuple(map(StepId, needs))
    )
