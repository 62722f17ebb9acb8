"""Finds the driver of each kind of resource."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from reconciler.apply.drivers.driver import Driver
from reconciler.plan.resources import KINDS, Kind


class DriverRegistry(Mapping[Kind, Driver[Any, Any]]):
    """The driver of every registered kind, in the order of the kinds.

    The driver of the kind `disk` is `DRIVER` in the module `disk` of this package. It is imported when it is first
    needed. A driver from elsewhere is registered.
    """

    def __init__(self) -> None:
        self._drivers: dict[Kind, Driver[Any, Any]] = {}

    def register(self, driver: Driver[Any, Any]) -> None:
        """Add the driver of a kind that is not in this package."""
        self._drivers[driver.noun.kind] = driver

    def remove(self, kind: Kind) -> None:
        """Remove the driver of a kind."""
        self._drivers.pop(kind, None)

    def __getitem__(self, kind: Kind) -> Driver[Any, Any]:
        if kind not in KINDS:
            raise KeyError(kind)
        if kind not in self._drivers:
            found: Driver[Any, Any] = import_module(f"{__package__}.{kind}").DRIVER
            self._drivers[kind] = found
        return self._drivers[kind]

    def __iter__(self) -> Iterator[Kind]:
        return iter(KINDS)

    def __len__(self) -> int:
        return len(KINDS)


DRIVERS = DriverRegistry()
"""The drivers for real hosts."""
