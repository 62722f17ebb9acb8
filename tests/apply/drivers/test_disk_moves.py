"""What the disk's driver does where an overlay comes from another host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.apply.drivers.disk import GROW, RECEIVE, DiskFact, ensure
from reconciler.apply.transport.command import Command, RemoteFile, Transfer
from reconciler.errors import ForeignObject, HostError
from reconciler.spec.models.names import Bytes, HostName
from tests.apply.drivers.sample import DISK

NOTHING = DiskFact(present=False, partial=False, owner="", backing="", size=0)
BEFORE = replace(DISK, host=HostName("worker9"))


def texts(size: int) -> list[str]:
    wanted = replace(DISK, size=Bytes(size))
    first, copy, *more = ensure(wanted, NOTHING, BEFORE)
    assert copy == Transfer(DISK.path, RemoteFile(HostName("worker9"), DISK.path))
    return [one.argv[2] for one in (first, *more) if isinstance(one, Command)]


def test_it_is_copied_and_then_grows() -> None:
    assert texts(DISK.size) == [RECEIVE]
    assert texts(DISK.size + 1) == [RECEIVE, GROW]


def test_a_part_of_an_earlier_copy_is_no_obstacle() -> None:
    begun = replace(NOTHING, partial=True, owner=DISK.address, backing=DISK.backing, size=DISK.size)
    assert len(ensure(DISK, begun, BEFORE)) == 2


def test_an_overlay_that_is_here_is_never_replaced_nor_taken_for_the_copy() -> None:
    here = DiskFact(present=True, partial=False, owner=DISK.address, backing=DISK.backing, size=DISK.size)
    with pytest.raises(HostError, match="was not replaced by the one on worker9"):
        ensure(DISK, here, BEFORE)
    with pytest.raises(ForeignObject):
        ensure(DISK, replace(here, owner="disk/somebody/else/x"), BEFORE)
