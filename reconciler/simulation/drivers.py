"""The drivers of model hosts, one for every kind: they use commands that hosts.py performs.

Like a real driver, each claims an object before it creates it, so that an interruption leaves it incomplete. Files are
replaced by placeholders, which consist of the digest that the file must have.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from reconciler.apply.drivers.driver import Driver
from reconciler.apply.drivers.ownership import owns, refuse
from reconciler.apply.execution.attempt import Private
from reconciler.apply.transport.command import Command, Operation, PrivateUpload, RemoteFile, Result, Transfer
from reconciler.errors import HostError
from reconciler.plan.diff import attribute_changes
from reconciler.plan.model import Step
from reconciler.plan.resources import KINDS, Kind, Resource, attributes, to_data
from reconciler.simulation.hosts import HostObject, content_of, object_name, object_names, read_resource, write_resource
from reconciler.spec.models.fields import UpdatePolicy
from reconciler.spec.models.names import Address


def _probe(resources: Sequence[Resource]) -> tuple[Command, ...]:
    return (_command("read", json.dumps([object_names(resource) for resource in resources])),)


def _parse(resources: Sequence[Resource], results: Sequence[Result]) -> Mapping[Address, HostObject | None]:
    parsed = [
        None if entry is None else HostObject(entry[0], read_resource(entry[2]), complete=entry[1])
        for entry in json.loads(results[0].output)
    ]
    return {resource.address: found for resource, found in zip(resources, parsed, strict=True)}


def _ensure(resource: Resource, fact: HostObject | None, before: Resource | None) -> tuple[Operation, ...]:
    _refuse_foreign(resource, fact)
    if before is not None and before.host != resource.host:
        return _copied(resource, fact, before)
    if fact is not None and fact.complete and fact.resource == resource and fact.owner == resource.address:
        return ()
    if fact is not None and fact.complete and resource.holds_data and not _grows(resource, fact.resource):
        raise HostError(resource.host, f"{resource.name_on_host} holds a guest's data and was left alone")
    text = write_resource(resource)
    claim = [] if fact is not None else [_command("claim", text)]
    copy = [] if content_of(resource) is None else [PrivateUpload(object_name(resource), resource.address)]
    return (*claim, *copy, _command("make", text))


def _copied(resource: Resource, fact: HostObject | None, before: Resource) -> tuple[Operation, ...]:
    if fact is not None and fact.complete:
        raise HostError(resource.host, f"{resource.name_on_host} is there already")
    text, copy = write_resource(resource), Transfer(object_name(resource), RemoteFile(before.host, object_name(before)))
    return (_command("claim", text), copy, _command("make", text))


def _grows(resource: Resource, found: Resource) -> bool:
    """Whether a resource only grows from what was found."""
    return all(
        item.policy is UpdatePolicy.GROW and item.before < item.after for item in attribute_changes(found, resource)
    )


def _remove(resource: Resource, fact: HostObject | None) -> tuple[Operation, ...]:
    _refuse_foreign(resource, fact)
    return () if fact is None else (_command("clear", write_resource(resource)),)


def _attributes(resource: Resource, fact: HostObject | None) -> Mapping[str, Any] | None:
    if fact is None or not fact.complete or not owns(resource, fact.owner):
        return None
    data = to_data(fact.resource)
    return {name: data[name] for name in attributes(resource.kind)}


def _refuse_foreign(resource: Resource, fact: HostObject | None) -> None:
    if fact is not None and not owns(resource, fact.owner):
        raise refuse(resource, object_name(resource), fact.owner)


def _command(verb: str, text: str) -> Command:
    return Command(("simulate", verb, text))


def contents(steps: Sequence[Step]) -> Private:
    """Return the placeholder for the file of each resource that has one."""
    return {
        step.address: partial(bytes, content)
        for step in steps
        if step.after is not None and (content := content_of(step.after)) is not None
    }


class ModelDrivers(Mapping[Kind, Driver[Any, Any]]):
    """The model driver of every registered kind."""

    def __getitem__(self, kind: Kind) -> Driver[Any, Any]:
        return Driver(KINDS[kind], _probe, _parse, _ensure, _remove, _attributes)

    def __iter__(self) -> Iterator[Kind]:
        return iter(KINDS)

    def __len__(self) -> int:
        return len(KINDS)


DRIVERS: Final = ModelDrivers()
