"""Models hosts in memory: their objects, the effect of each command, and what a real host would refuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from reconciler.apply.drivers.ownership import owns
from reconciler.apply.transport.batch import (
    Batch,
    Task,
    TaskEnded,
    TaskStarted,
    TaskStatus,
    failure_message,
)
from reconciler.apply.transport.command import Command, Result
from reconciler.plan.renames import former_slices
from reconciler.plan.resources import GraphRole, Resource, from_data, to_data
from reconciler.spec.models.names import HostName

ObjectName = str
"""The name of an object on its host, with its kind: a path, an interface, a namespace."""


@dataclass(frozen=True, slots=True)
class HostObject:
    """An object on a host: its owner, its resource, and whether it is complete or was interrupted.

    `upload` is the content that was uploaded for it so far, and is not in use yet. `data` is what its guest wrote when
    it ran for the first time: only a disk that was copied has that of another host.
    """

    owner: str
    resource: Resource
    complete: bool = True
    upload: bytes | None = None
    data: bytes = b""


@lru_cache(maxsize=2**14)  # the same few resources are read at every point
def read_resource(text: str) -> Resource:
    """Read a resource as `write_resource` writes it."""
    return from_data(json.loads(text))


def write_resource(resource: Resource) -> str:
    """Write a resource on one line."""
    return json.dumps(to_data(resource))


def content_of(resource: Resource) -> bytes | None:
    """Return the placeholder for the file of a resource, or None if it has no file."""
    digest = resource.content_digest
    return None if digest is None else digest.encode()


def object_name(resource: Resource) -> ObjectName:
    """Return the name of a resource's object; two resources with one name are in conflict."""
    return f"{resource.kind} {resource.name_on_host}"


def object_names(resource: Resource) -> list[ObjectName]:
    """Return the names that a resource's object may have: of a renamed one, a former address may be a part of it."""
    formerly = (replace(resource, address=former) for former in resource.formerly)
    return list(dict.fromkeys(map(object_name, (resource, *formerly))))


@dataclass(slots=True)
class Running:
    """A batch that a host runs, and how far it is; it runs on even if nothing reads its events."""

    batch: Batch
    task: int = 0
    results: tuple[Result, ...] = ()
    done: frozenset[int] = frozenset()

    @property
    def fingerprint(self) -> Hashable:
        """A value that batches with equal progress share."""
        return self.batch.tasks, self.task, len(self.results), self.done

    @property
    def ended(self) -> bool:
        """Whether no command is left."""
        return self.task == len(self.batch.tasks)

    def step(self, perform: Callable[[Command], Result]) -> Iterator[TaskStarted | TaskEnded]:
        """Run one command at most, and yield the events of that."""
        task = self.batch.tasks[self.task]
        if not self.results:
            if not self.done.issuperset(task.waits):
                yield self._end(task, TaskStatus.SKIPPED)
                return
            yield TaskStarted(task.number)
        if len(self.results) < len(task.commands):
            command = task.commands[len(self.results)]
            result = perform(command)
            self.results += (result,)
            if result.status not in command.ok:
                yield self._end(task, TaskStatus.FAILED, failure_message(command, result))
                return
        if len(self.results) == len(task.commands):
            self.done |= {task.number}
            yield self._end(task, TaskStatus.DONE)

    def _end(self, task: Task, status: TaskStatus, message: str = "") -> TaskEnded:
        ended = TaskEnded(task.number, status, self.results, message)
        self.task, self.results = self.task + 1, ()
        return ended


@dataclass(slots=True)
class Host:
    """One host: its objects, the batch that it runs under the operation lock, and whether it is down.

    `batches` counts those that may have changed something.
    """

    objects: dict[ObjectName, HostObject] = field(default_factory=dict)
    running: Running | None = None
    down: bool = False
    batches: int = 0

    def copy(self) -> Host:
        """Return a copy of the host."""
        running = replace(self.running) if self.running else None
        return Host(dict(self.objects), running, self.down, self.batches)

    @property
    def fingerprint(self) -> Hashable:
        """A value that equal hosts share."""
        return frozenset(self.objects.items()), self.running and self.running.fingerprint, self.down

    def settle(self) -> None:
        """Finish the batch that still runs here: the operation lock makes the next batch wait for it."""
        running, self.running = self.running, None
        while running is not None and not running.ended:
            list(running.step(self.perform))

    def perform(self, command: Command) -> Result:
        """Run one command."""
        match command.argv:
            case ("true",):  # a batch that only carries the fence
                return Result(0, "")
            case ("stat", *_):  # how many batches have run
                return Result(0, str(self.batches))
            case (_, verb, text):
                return self._perform(verb, text)
        raise ValueError(f"unknown command of the model: {command}")

    def _perform(self, verb: str, text: str) -> Result:
        if verb == "read":
            return Result(0, json.dumps([_report(self._find(names)) for names in json.loads(text)]))
        resource = read_resource(text)
        name, *former = object_names(resource)
        current = self._find([name, *former])
        if current is not None and not owns(resource, current.owner):
            return Result(1, f"{name} belongs to {current.owner}")
        match verb:
            case "claim" if current is None:
                self.objects[name] = HostObject(resource.address, resource, complete=False)
            case "make":
                if refusal := next(self._refusals(resource), None):
                    return Result(1, refusal)
                self._forget(former)
                self.objects[name] = HostObject(resource.address, resource, data=_data(current))
                self._write(resource)
            case "clear":
                if user := next(self._users(resource), None):
                    return Result(1, f"{name} is in use by {user}")
                self._forget([name, *former])
            case "claim":
                pass
            case _:
                raise ValueError(f"unknown command of the model: {verb}")
        return Result(0, "")

    def _find(self, names: Iterable[ObjectName]) -> HostObject | None:
        return next((self.objects[name] for name in names if name in self.objects), None)

    def _forget(self, names: Iterable[ObjectName]) -> None:
        for name in names:
            self.objects.pop(name, None)

    def _write(self, resource: Resource) -> None:
        """Let a guest that was just started write to its disk where it first runs."""
        for name in _used_by(resource) if resource.graph_role is GraphRole.NODE else ():
            disk = self.objects[name]
            if not disk.data:
                self.objects[name] = replace(disk, data=first_data(disk.resource))

    def receive(self, name: ObjectName, content: bytes) -> None:
        """Store a file, or the part that has arrived; raises KeyError if no object has claimed its name."""
        self.objects[name] = replace(self.objects[name], upload=content)

    def _is_complete(self, name: ObjectName) -> bool:
        found = self.objects.get(name)
        return found is not None and found.complete

    def _refusals(self, resource: Resource) -> Iterator[str]:
        """Yield the reasons why a real host would refuse this resource now."""
        yield from (f"there is no {name}" for name in _used_by(resource) if not self._is_complete(name))
        current = self.objects.get(object_name(resource))
        if (wanted := content_of(resource)) is not None and (current is None or current.upload != wanted):
            yield f"what was copied to {object_name(resource)} has the wrong content"
        for other in (found.resource for found in self.objects.values() if not owns(resource, found.owner)):
            if (reason := resource.conflict(other)) is not None:
                yield reason

    def _users(self, resource: Resource) -> Iterator[str]:
        name = object_name(resource)
        for found in self.objects.values():
            if found.complete and not owns(resource, found.owner) and name in _used_by(found.resource):
                yield found.owner


def first_data(resource: Resource) -> bytes:
    """Return what a guest writes to a resource when it runs for the first time; empty if it holds no data."""
    return f"written on {resource.host}".encode() if resource.holds_data else b""


def _data(current: HostObject | None) -> bytes:
    """Return the data of an object that is made: it stays, or it was copied from another host."""
    if current is None or not current.resource.holds_data:
        return b""
    return current.data if current.complete or current.upload is None else current.upload


def _report(found: HostObject | None) -> list[object] | None:
    return None if found is None else [found.owner, found.complete, write_resource(found.resource)]


def _used_by(resource: Resource) -> Iterable[ObjectName]:
    """Return the names of the objects on the same host that a resource uses."""
    return [f"{use.kind} {use.name}" for use in resource.uses() if use.certain and use.name is not None]


def invariant_violations(hosts: Mapping[HostName, Host]) -> list[str]:
    """Return what must never happen: numbers used twice where they must be unique, VLANs shared by slices."""
    users: dict[str, set[str]] = {}
    vlans: dict[int, set[str | None]] = {}
    objects = [found for state in hosts.values() for found in state.objects.values()]
    now: dict[str | None, str | None] = {
        former: found.resource.slice for found in objects for former in former_slices(found.resource)
    }
    for host, state in hosts.items():
        for found in state.objects.values():
            if found.owner != found.resource.address:
                continue
            for number in found.resource.unique_numbers():
                users.setdefault(number, set()).add(f"{found.owner} on {host}")
            for vlan in found.resource.private_vlans():
                key = found.resource.slice
                vlans.setdefault(vlan, set()).add(now.get(key, key))
    violations = [f"{number} is used by {', '.join(sorted(who))}" for number, who in users.items() if len(who) > 1]
    violations += [f"VLAN {vlan} is used by {sorted(map(str, who))}" for vlan, who in vlans.items() if len(who) > 1]
    return sorted(violations)
