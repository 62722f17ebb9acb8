"""Which driver serves which kind of resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.apply.drivers import disk, image, port, reservation, router, seed, segment, trunk, uplink, vm
from reconciler.apply.drivers.driver import Driver
from reconciler.plan.resources import Kind

_ALL: tuple[Driver[Any, Any], ...] = (
    image.DRIVER,
    uplink.DRIVER,
    router.DRIVER,
    trunk.DRIVER,
    reservation.DRIVER,
    segment.DRIVER,
    disk.DRIVER,
    seed.DRIVER,
    port.DRIVER,
    vm.DRIVER,
)

DRIVERS: Mapping[Kind, Driver[Any, Any]] = {driver.noun.kind: driver for driver in _ALL}
"""The driver of every kind."""
