"""Hosts in memory: what stands there, what a command does to it, and what a real host would refuse or suffer from.

How a command gets here is connection.py's, what is asked of which kind is drivers.py's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from reconciler.apply.transport.batch import Batch, Task, TaskEnded, TaskStarted, TaskStatus, failure_message
from reconciler.apply.transport.command import Command, Result
from reconciler.plan.resources import Resource, from_data, to_data
from reconciler.spec.models.names import HostName

Place = str
"""Where a thing stands on its host, in the host's own terms: a path, an interface, a namespace."""


@dataclass(frozen=True, slots=True)
class Thing:
    """What stands at a place: whose it is, what it is, and whether its making or removal was cut short.

    `upload` is what was copied beside it and has not taken its place yet, as far as it came.
    """

    owner: str
    resource: Resource
    whole: bool = True
    upload: bytes | None = None


@lru_cache(maxsize=2**14)  # the same few resources come up at every stop
def read_resource(text: str) -> Resource:
    """Read a resource as `write_resource` writes it."""
    return from_data(json.loads(text))


def write_resource(resource: Resource) -> str:
    """Write a resource on one line."""
    return json.dumps(to_data(resource))


def content_of(resource: Resource) -> bytes | None:
    """Return what stands here for the file that is copied to make a resource; None where there is no file to it."""
    digest = resource.content_digest
    return None if digest is None else digest.encode()


def place_of(resource: Resource) -> Place:
    """Return where a resource stands; two that would stand at one place are in each other's way."""
    return f"{resource.kind} {resource.name_on_host}"


@dataclass(slots=True)
class Running:
    """A batch that a host runs, and how far it is; it runs on even if nothing reads its events."""

    batch: Batch
    task: int = 0
    results: tuple[Result, ...] = ()
    done: frozenset[int] = frozenset()

    @property
    def fingerprint(self) -> Hashable:
        """What batches that are equally far have in common."""
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
    """One host: its things, what still runs there under the operation lock, and whether it answers."""

    things: dict[Place, Thing] = field(default_factory=dict)
    running: Running | None = None
    down: bool = False

    def copy(self) -> Host:
        """Return the host as it is now."""
        running = replace(self.running) if self.running else None
        return Host(dict(self.things), running, self.down)

    @property
    def print(self) -> Hashable:
        """What two hosts have in common that are the same."""
        return frozenset(self.things.items()), self.running and self.running.fingerprint, self.down

    def settle(self) -> None:
        """Let what still runs here come to its end, as the operation lock makes the next batch wait."""
        running, self.running = self.running, None
        while running is not None and not running.ended:
            list(running.step(self.perform))

    def perform(self, command: Command) -> Result:
        """Run one command."""
        if command.argv == ("true",):  # a batch that only brings the fence
            return Result(0, "")
        _, verb, text = command.argv
        if verb == "read":
            return Result(0, json.dumps([_report(self.things.get(place)) for place in json.loads(text)]))
        resource = read_resource(text)
        place = place_of(resource)
        standing = self.things.get(place)
        if standing is not None and standing.owner != resource.address:
            return Result(1, f"{place} belongs to {standing.owner}")
        match verb:
            case "claim" if standing is None:
                self.things[place] = Thing(resource.address, resource, whole=False)
            case "make":
                if refusal := next(self._refusals(resource), None):
                    return Result(1, refusal)
                self.things[place] = Thing(resource.address, resource)
            case "clear":
                if user := next(self._users(resource), None):
                    return Result(1, f"{place} is in use by {user}")
                self.things.pop(place, None)
            case "claim":
                pass
            case _:
                raise ValueError(f"the model knows no command {verb}")
        return Result(0, "")

    def take(self, place: Place, content: bytes) -> None:
        """Take a file, or what has come of it so far; raises KeyError where nothing has claimed its place."""
        self.things[place] = replace(self.things[place], upload=content)

    def _stands(self, place: Place) -> bool:
        thing = self.things.get(place)
        return thing is not None and thing.whole

    def _refusals(self, resource: Resource) -> Iterator[str]:
        """Yield why a real host could not have this, as things are."""
        yield from (f"there is no {place}" for place in _needed(resource) if not self._stands(place))
        standing = self.things.get(place_of(resource))
        if (wanted := content_of(resource)) is not None and (standing is None or standing.upload != wanted):
            yield f"what was copied to {place_of(resource)} is not what it should be"
        for other in (thing.resource for thing in self.things.values() if thing.owner != resource.address):
            if (reason := resource.conflict(other)) is not None:
                yield reason

    def _users(self, resource: Resource) -> Iterator[str]:
        place = place_of(resource)
        for thing in self.things.values():
            if thing.whole and thing.owner != resource.address and place in _needed(thing.resource):
                yield thing.owner


def _report(thing: Thing | None) -> list[object] | None:
    return None if thing is None else [thing.owner, thing.whole, write_resource(thing.resource)]


def _needed(resource: Resource) -> Iterable[Place]:
    """Return the places on the same host without which a resource cannot be there."""
    return [f"{use.kind} {use.name}" for use in resource.uses() if use.certain and use.name is not None]


def invariant_violations(hosts: Mapping[HostName, Host]) -> list[str]:
    """Return what must never be, on whichever hosts: numbers used twice where they meet, VLANs shared by slices."""
    users: dict[str, set[str]] = {}
    vlans: dict[int, set[str | None]] = {}
    for host, state in hosts.items():
        for thing in state.things.values():
            if thing.owner != thing.resource.address:
                continue
            for number in thing.resource.unique_numbers():
                users.setdefault(number, set()).add(f"{thing.owner} on {host}")
            for vlan in thing.resource.private_vlans():
                vlans.setdefault(vlan, set()).add(thing.resource.slice)
    found = [f"{number} is used by {', '.join(sorted(who))}" for number, who in users.items() if len(who) > 1]
    found += [f"VLAN {vlan} is used by {sorted(map(str, who))}" for vlan, who in vlans.items() if len(who) > 1]
    return sorted(found)
