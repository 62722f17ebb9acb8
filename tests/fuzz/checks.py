"""Checks the handling of any bytes: as a file, as output of a host, as output of a probe."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.transport.batch import Task, TaskEnded, TaskStatus, escape_controls
from reconciler.apply.transport.command import Command, Result
from reconciler.apply.transport.script import Transcript
from reconciler.errors import HostError, Problem, SpecError
from reconciler.spec.diagnostics import format_problem
from reconciler.spec.load import load_cluster, load_slices
from reconciler.spec.tree import FileTree
from reconciler.trees import DISK
from tests.apply.drivers.sample import EVERYTHING

NONCE: Final = "c3" * 16
TRUE: Final = Command(("true",))
TASKS: Final = (Task(0, (TRUE,)), Task(1, (TRUE, TRUE), (0,)), Task(2, ()))


def files(data: bytes) -> None:
    """Check that any file is loaded, or refused with printable problems inside it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "any.yaml"
        path.write_bytes(data)
        for load in (_load_slice, load_cluster):
            problems: tuple[Problem, ...] = ()
            try:
                load(DISK, path)
            except SpecError as error:
                problems = error.problems()
            for problem in problems:
                assert problem.location is None or 1 <= problem.location.line <= data.count(b"\n") + 2
                assert problem.location is None or problem.location.column >= 1
                assert format_problem(problem).replace("\n", "").isprintable()


def _load_slice(tree: FileTree, path: Path) -> object:
    return load_slices(tree, [path])


def transcript(data: bytes) -> None:
    """Check that a task is done only if each of its results was framed; byte 1 is replaced by the nonce."""
    lines = data.replace(b"\1", NONCE.encode()).decode(errors="surrogateescape").split("\n")
    reader = Transcript(TASKS, NONCE, output_cap=64)
    ends = [event for line in lines for event in reader.feed(line) if isinstance(event, TaskEnded)]
    assert len({end.number for end in ends}) == len(ends)
    for end in ends:
        framed = sum(line.startswith(f"{NONCE} result {end.number} ") for line in lines)
        if end.status is TaskStatus.DONE:
            assert framed >= len(TASKS[end.number].commands)
            assert f"{NONCE} begin {end.number}" in lines
        for result in end.results:
            assert escape_controls(result.output) == result.output
    if NONCE not in "\n".join(lines):
        assert (ends, reader.complete, reader.missing) == ([], False, (0, 1, 2))


def probes(data: bytes) -> None:
    """Check that a driver returns facts or raises HostError."""
    resource = EVERYTHING[data[0] % len(EVERYTHING)] if data else EVERYTHING[0]
    driver = DRIVERS[resource.kind]
    pieces = [escape_controls(piece.decode(errors="surrogateescape")) for piece in data[1:].split(b"\1")]
    asked = driver.probe([resource])
    results = [Result(0, pieces[at] if at < len(pieces) else "") for at in range(len(asked))]
    with suppress(HostError):
        fact = driver.parse([resource], results)[resource.address]
        driver.observed(resource, fact)


CHECKS: Final[dict[str, Callable[[bytes], None]]] = {"files": files, "transcript": transcript, "probes": probes}
