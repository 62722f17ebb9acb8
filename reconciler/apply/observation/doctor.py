"""Checks every host with one read-only batch, all hosts at once; fitness.py defines the checks."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.apply.observation.fitness import (
    Finding,
    ProbeOutput,
    Requirements,
    Verdict,
    clock,
    findings,
    lacking,
    parse,
    probe,
    requirements,
)
from reconciler.apply.transport.batch import NO_LOCK, Batch, Task, TaskEnded, TaskStatus
from reconciler.apply.transport.connection import Connection, Connector, message_of, run_batch
from reconciler.errors import HostError, HostUnreachable
from reconciler.spec.models.cluster import Cluster, Image
from reconciler.spec.models.names import HostName
from reconciler.spec.qcow2 import HEADER, Fault, read_header

Wall = Callable[[], float]
"""Returns the local time, in seconds since 1970."""

_UNREACHABLE: Final = "check that the host is up, and its address and ssh settings in the cluster file"
_NO_SHELL: Final = "a shell must run there as root: docs/security.md describes the user and sudo"


@dataclass(frozen=True, slots=True)
class Examination:
    """The findings on one host. `host` is None for this machine; `lacking` names images that the host does not have."""

    host: HostName | None
    findings: tuple[Finding, ...]
    lacking: frozenset[str] = frozenset()

    @property
    def fit(self) -> bool:
        """Whether no check fails; warnings are allowed."""
        return all(finding.verdict is not Verdict.FAIL for finding in self.findings)


async def examine(cluster: Cluster, connector: Connector, wall: Wall) -> tuple[Examination, ...]:
    """Examine every host, in the order of the cluster file; an unreachable host is a finding, not an error."""
    hosts = list(dict.fromkeys(HostName(host.name) for host in cluster.hosts()))
    examined = await asyncio.gather(*(_examine(connector, host, requirements(cluster, host), wall) for host in hosts))
    return tuple(examined)


async def _examine(connector: Connector, host: HostName, required: Requirements, wall: Wall) -> Examination:
    try:
        connection = await connector.connect(host)
    except HostError as error:
        return Examination(host, (_failed("ssh", error, _UNREACHABLE),))
    reached = Finding("ssh", Verdict.OK, "logged in")
    try:
        probed, skew = await _probe(connection, required, wall)
    except HostUnreachable as error:
        return Examination(host, (_failed("ssh", error, _UNREACHABLE),))
    except HostError as error:
        return Examination(host, (reached, _failed("root", error, _NO_SHELL)))
    return Examination(host, (reached, *findings(required, probed, skew)), lacking(required, probed))


def _failed(check: str, error: HostError, remedy: str) -> Finding:
    return Finding(check, Verdict.FAIL, message_of(error), error.hint or remedy)


async def _probe(connection: Connection, required: Requirements, wall: Wall) -> tuple[ProbeOutput, float | None]:
    """Return what a host printed, and the difference of its clock from ours; raises HostError if it printed nothing."""
    batch = Batch((Task(0, (probe(required),)),), NO_LOCK)
    before = wall()
    async with aclosing(run_batch(connection, batch)) as events:
        results = [event async for event in events if isinstance(event, TaskEnded)]
    after = wall()
    (ended,) = results
    if ended.status is not TaskStatus.DONE:
        raise HostError(connection.host, ended.message)
    probed = parse(ended.results[0].output)
    there = clock(probed)
    # The host read its clock between these two times, so only what is outside of them is a difference.
    return probed, None if there is None else max(before - there, there - after, 0.0)


def examine_here(images: Mapping[str, Image], files: Mapping[str, Path], others: Iterable[Examination]) -> Examination:
    """Check the local files of the images, by SHA-256; `files` maps the name of each image to its file.

    A missing or wrong file is a failure only if a reachable host does not have the image yet.
    """
    needed = {name for examination in others for name in examination.lacking}
    return Examination(
        None, tuple(_check_file(name, image, files[name], name in needed) for name, image in sorted(images.items()))
    )


def _check_file(name: str, image: Image, path: Path, needed: bool) -> Finding:
    check, bad = f"image {name}", Verdict.FAIL if needed else Verdict.WARN
    try:
        with path.open("rb") as content:
            header = read_header(content.read(HEADER), str(path))
            content.seek(0)
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        return Finding(check, bad, f"{path}: {error.strerror or error}", f"put it there, or correct images: {name}")
    if digest != image.sha256:
        remedy = f"fetch the image again, or correct images: {name}: sha256 in the cluster file"
        return Finding(check, bad, f"{path} has sha256 {digest}", remedy)
    if isinstance(header, Fault):
        return Finding(check, Verdict.FAIL, f"{path} {header.text}", header.hint)
    return Finding(check, Verdict.OK, f"{path} has the right checksum")
