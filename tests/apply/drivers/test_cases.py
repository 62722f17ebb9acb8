"""Every driver against captured probe results: what it observes, and what it would do; `cases/` holds one file each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.apply.drivers import (
    bridge,
    dhcp,
    disk,
    image,
    ownership,
    port,
    reservation,
    router,
    seed,
    segment,
    shaping,
    switch,
    trunk,
    uplink,
    vm,
)
from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.transport.command import Command, Operation, PrivateUpload, Result, Transfer, Upload
from reconciler.errors import HostError
from reconciler.plan.resources import KINDS, Resource, from_data
from tests.apply.drivers.capture import STATES, path_of
from tests.conftest import Golden

CASES = sorted((Path(__file__).parent / "cases").glob("*/*.json"))
MODULES = (
    bridge,
    dhcp,
    disk,
    image,
    ownership,
    port,
    reservation,
    router,
    seed,
    segment,
    shaping,
    switch,
    trunk,
    uplink,
    vm,
)
SCRIPTS = {
    text: f"{module.__name__.rpartition('.')[2]}.{name.lstrip('_')}"
    for module in MODULES
    for name, text in vars(module).items()
    if name.isupper() and isinstance(text, str) and "\n" in text
}
"""The name of every constant shell text, so that cases say `port.CREATE` and not the text."""


def read(path: Path) -> tuple[dict[str, Any], Resource, Resource | None, list[Result]]:
    case = json.loads(path.read_text())
    before = from_data(case["before"]) if case["before"] else None
    results = [Result(one["status"], "\n".join(one["output"])) for one in case["results"]]
    return case, from_data(case["resource"]), before, results


def written(operation: Operation) -> dict[str, Any]:
    """Write an operation as cases do."""
    match operation:
        case Upload(path, sha256):
            return {"upload": path, "sha256": sha256}
        case PrivateUpload(path, address):
            return {"private upload": path, "for": address}
        case Transfer(path, source):
            return {"copy": path, "from": source.host, "source": source.path}
        case Command(("sh", "-ceu", text, "reconciler", *args)):
            return {"script": SCRIPTS[text], "args": [SCRIPTS.get(argument, argument) for argument in args]}
        case Command(argv, None):
            return {"argv": [*argv]}
        case Command(argv, stdin):
            assert stdin is not None
            return {"argv": [*argv], "stdin": stdin.split("\n")}


def outcome(ask: Callable[[], Any]) -> Any:
    """Return what a driver answers, or the error that it raises instead."""
    try:
        return ask()
    except HostError as error:
        return {"error": error.summary, "code": error.code, "hint": error.hint}


def expectation(resource: Resource, before: Resource | None, results: list[Result]) -> dict[str, Any]:
    driver = DRIVERS[resource.kind]
    try:
        fact = driver.parse([resource], results)[resource.address]
    except HostError as error:
        return {"parse": {"error": error.summary, "hint": error.hint}}
    return {
        "observed": driver.observed(resource, fact),
        "ensure": outcome(lambda: [written(one) for one in driver.ensure(resource, fact, before)]),
        "remove": outcome(lambda: [written(one) for one in driver.remove(resource, fact)]),
    }


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_driver_answers_as_the_case_says(path: Path, golden: Golden) -> None:
    case, resource, before, results = read(path)
    given = {key: case[key] for key in ("about", "before", "resource", "results")}
    golden(path, json.dumps(given | expectation(resource, before, results), indent=2) + "\n")


@pytest.mark.parametrize("noun", KINDS.values(), ids=lambda noun: noun.kind)
def test_every_kind_has_a_driver_and_cases(noun: type[Resource]) -> None:
    assert DRIVERS[noun.kind].noun is noun
    assert sum(path.parent.name == noun.kind for path in CASES) >= 6


def test_every_case_is_of_a_state_that_can_be_captured_again() -> None:
    assert {path_of(state) for state in STATES} == set(CASES)


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_observed_speaks_of_attributes_as_the_plan_does(path: Path) -> None:
    case, resource, _, _ = read(path)
    observed = case.get("observed") or {}
    assert set(observed) <= set(case["resource"])
    if case["about"].endswith(": right"):
        assert observed == {key: case["resource"][key] for key in observed}
        assert case["ensure"] == []
        assert resource.kind in case["about"]
