"""One driver for every kind of resource, in commands that a model host understands; hosts.py performs them.

As with the real ones, a thing is claimed before it is made, so a stop in between leaves one half-made; images and seeds
are copied in between. A file has a stand-in, made of the digest that it should have: nobody needs the real one here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from reconciler.apply.drivers.driver import Driver
from reconciler.apply.drivers.ownership import refuse
from reconciler.apply.execution.attempt import Private
from reconciler.apply.transport.command import Command, Operation, PrivateUpload, Result
from reconciler.errors import HostError
from reconciler.plan.model import Step
from reconciler.plan.resources import KINDS, Kind, Resource, attributes, to_data
from reconciler.simulation.hosts import Thing, content_of, place_of, read_resource, write_resource
from reconciler.spec.models.names import Address


def _probe(resources: Sequence[Resource]) -> tuple[Command, ...]:
    return (_command("read", json.dumps([place_of(resource) for resource in resources])),)


def _parse(resources: Sequence[Resource], results: Sequence[Result]) -> Mapping[Address, Thing | None]:
    answers = [
        None if answer is None else Thing(answer[0], read_resource(answer[2]), whole=answer[1])
        for answer in json.loads(results[0].output)
    ]
    return {resource.address: thing for resource, thing in zip(resources, answers, strict=True)}


def _ensure(resource: Resource, fact: Thing | None, _before: Resource | None) -> tuple[Operation, ...]:
    _stop_at_others(resource, fact)
    if fact is not None and fact.whole and fact.resource == resource:
        return ()
    if fact is not None and fact.whole and resource.holds_data:
        raise HostError(resource.host, f"{resource.name_on_host} holds a guest's data and was left alone")
    text = write_resource(resource)
    claim = [] if fact is not None else [_command("claim", text)]
    copy = [] if content_of(resource) is None else [PrivateUpload(place_of(resource), resource.address)]
    return (*claim, *copy, _command("make", text))


def _remove(resource: Resource, fact: Thing | None) -> tuple[Operation, ...]:
    _stop_at_others(resource, fact)
    return () if fact is None else (_command("clear", write_resource(resource)),)


def _observed(resource: Resource, fact: Thing | None) -> Mapping[str, Any] | None:
    if fact is None or not fact.whole or fact.owner != resource.address:
        return None
    data = to_data(fact.resource)
    return {name: data[name] for name in attributes(resource.kind)}


def _stop_at_others(resource: Resource, fact: Thing | None) -> None:
    if fact is not None and fact.owner != resource.address:
        raise refuse(resource, place_of(resource), fact.owner)


def _command(verb: str, text: str) -> Command:
    return Command(("simulate", verb, text))


def contents(steps: Sequence[Step]) -> Private:
    """Return what stands for the file of each resource that has one."""
    return {
        step.address: partial(bytes, content)
        for step in steps
        if step.after is not None and (content := content_of(step.after)) is not None
    }


class ModelDrivers(Mapping[Kind, Driver[Any, Any]]):
    """The model's driver of every kind, whichever there are."""

    def __getitem__(self, kind: Kind) -> Driver[Any, Any]:
        return Driver(KINDS[kind], _probe, _parse, _ensure, _remove, _observed)

    def __iter__(self) -> Iterator[Kind]:
        return iter(KINDS)

    def __len__(self) -> int:
        return len(KINDS)


DRIVERS: Final = ModelDrivers()
