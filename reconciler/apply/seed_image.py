"""Builds the seed image that cloud-init's NoCloud reads, in memory; the same input gives the same bytes.

A file system with the label `cidata` holds `meta-data`, `user-data`, `vendor-data` and `network-config`
(https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html). Without the last one cloud-init would bring
up the first NIC only.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from reconciler.plan.resources import Seed, Vm

if TYPE_CHECKING:
    from pycdlib import PyCdlib
    from pycdlib.dates import DirectoryRecordDate
    from pycdlib.dr import DirectoryRecord

_LABEL: Final = "cidata"
_READ_ONLY: Final = 0o100400
_JOLIET: Final = 3

# ECMA-119, 8.4: descriptors of volumes begin in sector 16, the last has type 255; in each, four dates of 17 bytes.
_SECTOR: Final = 2048
_FIRST_DESCRIPTOR: Final = 16 * _SECTOR
_LAST_TYPE: Final = 255
_DATES: Final = slice(813, 813 + 4 * 17)
_NO_DATE: Final = b"0" * 16 + b"\0"

_DAY: Final = bytes((126, 1, 1, 0, 0, 0, 0))
"""The date of every file, as a directory has it (9.1.5): the first of January 2026, UTC."""


_VENDOR_DATA: Final = b"#cloud-config\nupdates: {network: {when: [boot]}}\n"
"""Lets a guest read its network configuration at every boot: a VM may get more NICs."""

_NO_USER_DATA: Final = b"#cloud-config\n{}\n"


def seed_image(seed: Seed, user_data: bytes) -> bytes:
    """Return the image of a VM with user-data."""
    return _image(seed.instance_id, seed.hostname, seed.macs, user_data)


@lru_cache(maxsize=64)
def network_image(vm: Vm) -> bytes:
    """Return the image of a VM without user-data, which tells its guest its name and its network."""
    return _image(str(vm.vm_id), vm.hostname, [nic.mac for nic in vm.nics], _NO_USER_DATA)


def network_config(macs: Sequence[str]) -> bytes:
    """Return a network configuration, version 2, that names each NIC as the slice file does, and asks for DHCP on it.

    JSON is YAML. A guest does not wait for addresses: a link may have no DHCP. Its MTU comes with the address, which
    systemd-networkd heeds only where it is told to.
    """
    nics = {
        f"eth{number}": {
            "match": {"macaddress": mac},
            "set-name": f"eth{number}",
            "dhcp4": True,
            "dhcp4-overrides": {"use-mtu": True},
            "optional": True,
        }
        for number, mac in enumerate(macs)
    }
    return json.dumps({"version": 2, "ethernets": nics}).encode() + b"\n"


def _image(instance: str, hostname: str, macs: Sequence[str], user_data: bytes) -> bytes:
    """Return an ISO 9660 image with Rock Ridge and Joliet names, so that every guest finds the files by theirs."""
    from pycdlib import PyCdlib  # noqa: PLC0415 - only where VMs are created

    files = (
        ("meta-data", f"instance-id: {instance}\nlocal-hostname: {hostname}\n".encode()),
        ("user-data", user_data),
        ("vendor-data", _VENDOR_DATA),
        ("network-config", network_config(macs)),
    )
    image = PyCdlib()
    image.new(interchange_level=3, vol_ident=_LABEL, joliet=_JOLIET, rock_ridge="1.09")
    for name, content in files:
        plain = name.partition("-")[0].upper()
        image.add_fp(
            io.BytesIO(content),
            len(content),
            f"/{plain}.;1",
            rr_name=name,
            joliet_path=f"/{name}",
            file_mode=_READ_ONLY,
        )
    _settle_dates(image)
    written = io.BytesIO()
    image.write_fp(written)
    image.close()
    return _without_dates(bytearray(written.getvalue()))


def _settle_dates(image: PyCdlib) -> None:
    """Give every entry of every directory the same date, in place of the time at which it was made."""
    for entry in _entries(image):
        entry.date = _date()
        times = None if entry.rock_ridge is None else entry.rock_ridge.dr_entries.tf_record
        if times is not None:
            times.access_time, times.modification_time, times.attribute_change_time = _date(), _date(), _date()


def _date() -> DirectoryRecordDate:
    from pycdlib.dates import DirectoryRecordDate  # noqa: PLC0415 - as above

    date = DirectoryRecordDate()
    date.parse(_DAY)
    return date


def _entries(image: PyCdlib) -> Iterator[DirectoryRecord]:
    for volume in (image.pvd, image.joliet_vd):
        assert volume is not None, "both volumes were created"  # noqa: S101
        root = volume.root_directory_record()
        yield root
        yield from root.children


def _without_dates(image: bytearray) -> bytes:
    at = _FIRST_DESCRIPTOR
    while image[at] != _LAST_TYPE:
        image[at + _DATES.start : at + _DATES.stop] = _NO_DATE * 4
        at += _SECTOR
    return bytes(image)
