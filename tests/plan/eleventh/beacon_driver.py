"""Writes and deletes beacons: the file has its owner in the first line and its text in the second."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.apply.drivers.driver import Driver, Found, Survey, SurveyTarget
from reconciler.apply.drivers.ownership import list_files, parse_files, refuse, slice_of, stop_at, tagged
from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Operation, Result, script
from reconciler.errors import ForeignObject
from reconciler.plan.resources import ROOT
from reconciler.spec.models.names import Address
from tests.plan.eleventh.beacon import Beacon

PROBE = """
for path do
    owner= text=
    if [ -e "$path" ]; then { IFS= read -r owner; IFS= read -r text; } < "$path" || :; fi
    printf '%s\\n' "$owner" "$text"
done
"""

CREATE = """
mkdir -p -- "$1"
printf '%s\\n' "$3" "$4" > "$2.new"
mv -- "$2.new" "$2"
"""

REMOVE = 'rm -f -- "$1"'


@dataclass(frozen=True, slots=True)
class BeaconFact:
    """A beacon's file: its owner and its text, both empty where there is none."""

    owner: str
    text: str


def probe(beacons: Sequence[Beacon]) -> tuple[Command, ...]:
    return (script(PROBE, *(beacon.path for beacon in beacons)),)


def parse(beacons: Sequence[Beacon], results: Sequence[Result]) -> Mapping[Address, BeaconFact]:
    found = output.records(beacons[0].host, results[0], count=len(beacons), width=2)
    return {beacon.address: BeaconFact(*lines) for beacon, lines in zip(beacons, found, strict=True)}


def ensure(beacon: Beacon, fact: BeaconFact, _before: Beacon | None) -> tuple[Operation, ...]:
    stop_at(_obstacle(beacon, fact))
    if fact.text == beacon.text:
        return ()
    return (script(CREATE, f"{ROOT}/beacons", beacon.path, beacon.address, beacon.text),)


def remove(beacon: Beacon, fact: BeaconFact) -> tuple[Operation, ...]:
    stop_at(_obstacle(beacon, fact))
    return (script(REMOVE, beacon.path),) if fact.owner else ()


def observed(beacon: Beacon, fact: BeaconFact) -> Mapping[str, Any] | None:
    if not fact.owner or _obstacle(beacon, fact):
        return None
    return {"path": beacon.path, "text": fact.text}


def _obstacle(beacon: Beacon, fact: BeaconFact) -> ForeignObject | None:
    return refuse(beacon, f"the file {beacon.path}", fact.owner) if fact.owner not in {"", beacon.address} else None


def survey(target: SurveyTarget, results: Sequence[Result]) -> Iterator[Found]:
    for file in parse_files(target.host, results[0]):
        owner, text, *_ = file.lines
        if (where := tagged(Beacon, owner)) is not None:
            slice_ = slice_of(Beacon, where)
            yield Found(Beacon(address=where, slice=slice_, host=target.host, path=file.path, text=text), file.mark)


SURVEY: Survey[Beacon] = Survey((list_files(f"{ROOT}/beacons", 1, "*"),), survey, lambda beacon: beacon.path)
DRIVER = Driver(Beacon, probe, parse, ensure, remove, observed, SURVEY)
