"""Hosts in memory: what stands there, what a command does to it, and what a real host would refuse or suffer from.

How a command gets here is connection.py's, what is asked of which kind is drivers.py's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from reconciler.plan.resources import Resource, from_data, to_data
from reconciler.simulation.script import Call, Script
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
    """A script that a host performs, and how far it is; nobody need be listening."""

    script: Script
    errand: int = 0
    call: int = 0
    done: frozenset[int] = frozenset()

    @property
    def print(self) -> Hashable:
        """What tells how far which script is."""
        return self.script.nonce, self.errand, self.call, self.done

    @property
    def ended(self) -> bool:
        """Whether no command is left."""
        return self.errand == len(self.script.errands)

    def step(self, perform: Callable[[Call], tuple[int, str]]) -> Iterator[str]:
        """Go on by one command at most, and yield what the script prints."""
        errand, nonce = self.script.errands[self.errand], self.script.nonce
        if self.call == 0:
            if not errand.waits <= self.done:
                yield f"{nonce} skip {errand.number}"
                self._next()
                return
            yield f"{nonce} begin {errand.number}"
        if self.call < len(errand.calls):
            call, at = errand.calls[self.call], self.call
            status, words = perform(call)
            if status not in call.ok:
                self._next()
            else:
                self.call += 1
            if words:
                yield words
            yield f"{nonce} result {errand.number} {at} {status}"
            if status not in call.ok:
                return
        if self.call == len(errand.calls):
            self.done |= {errand.number}
            self._next()

    def _next(self) -> None:
        self.errand, self.call = self.errand + 1, 0


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
        return frozenset(self.things.items()), self.running and self.running.print, self.down

    def settle(self) -> None:
        """Let what still runs here come to its end, as the operation lock makes the next batch wait."""
        running, self.running = self.running, None
        while running is not None and not running.ended:
            list(running.step(self.perform))

    def perform(self, call: Call) -> tuple[int, str]:
        """Do one command; returns its exit status and what it printed."""
        if call.argv == ("env", "--", "true"):  # it only brings the fence
            return 0, ""
        _, verb, text = call.argv
        if verb == "read":
            return 0, json.dumps([_report(self.things.get(place)) for place in json.loads(text)])
        resource = read_resource(text)
        place = place_of(resource)
        standing = self.things.get(place)
        if standing is not None and standing.owner != resource.address:
            return 1, f"{place} belongs to {standing.owner}"
        match verb:
            case "claim" if standing is None:
                self.things[place] = Thing(resource.address, resource, whole=False)
            case "make":
                if refusal := next(self._refusals(resource), None):
                    return 1, refusal
                self.things[place] = Thing(resource.address, resource)
            case "clear":
                if user := next(self._users(resource), None):
                    return 1, f"{place} is in use by {user}"
                self.things.pop(place, None)
            case "claim":
                pass
            case _:
                raise ValueError(f"the model knows no command {verb}")
        return 0, ""

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
