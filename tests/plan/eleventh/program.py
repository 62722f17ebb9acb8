"""Runs the command line with the kind of beacons registered."""

from __future__ import annotations

from reconciler.apply.drivers.registry import DRIVERS
from reconciler.cli import main
from reconciler.plan.resources import KINDS
from tests.plan.eleventh.beacon import Beacon
from tests.plan.eleventh.beacon_driver import DRIVER

if __name__ == "__main__":
    KINDS.register(Beacon)
    DRIVERS.register(DRIVER)
    main()
