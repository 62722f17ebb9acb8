"""The image of a seed, read back: its label, its files, and the same bytes whenever and wherever it is made."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace

from pycdlib import PyCdlib

from reconciler.apply.seed_image import network_image, seed_image
from reconciler.plan.resources import Nic
from tests.apply.drivers.sample import SEED, VM

CONFIG = {
    "version": 2,
    "ethernets": {
        "eth0": {
            "match": {"macaddress": "52:54:00:03:e9:00"},
            "set-name": "eth0",
            "dhcp4": True,
            "dhcp4-overrides": {"use-mtu": True},
            "optional": True,
        },
        "eth1": {
            "match": {"macaddress": "52:54:00:03:e9:01"},
            "set-name": "eth1",
            "dhcp4": True,
            "dhcp4-overrides": {"use-mtu": True},
            "optional": True,
        },
    },
}
TWO_NICS = replace(VM, nics=tuple(Nic(f"tap{number}", mac) for number, mac in enumerate(SEED.macs)))
USER_DATA = b"#!/bin/sh\necho hello\n"


def read(content: bytes) -> dict[str, bytes]:
    """Return the files of an image by name, which both sorts of names must show alike."""
    image = PyCdlib()
    image.open_fp(io.BytesIO(content))
    assert image.pvd.volume_identifier.rstrip() == b"cidata"
    files: dict[str, bytes] = {}
    for name in ("user-data", "meta-data", "vendor-data", "network-config"):
        for names in ("rr_path", "joliet_path"):
            found = io.BytesIO()
            image.get_file_from_iso_fp(found, **{names: f"/{name}"})
            assert files.setdefault(name, found.getvalue()) == found.getvalue()
    image.close()
    return files


def test_every_guest_finds_the_files_by_their_names() -> None:
    files = read(seed_image(SEED, USER_DATA))
    assert files["user-data"] == USER_DATA
    assert files["meta-data"] == f"instance-id: {SEED.instance_id}\nlocal-hostname: web\n".encode()
    assert files["vendor-data"].startswith(b"#cloud-config\n")


def test_each_nic_is_configured_by_its_mac_with_and_without_user_data() -> None:
    with_user_data, without = read(seed_image(SEED, USER_DATA)), read(network_image(TWO_NICS))
    assert json.loads(with_user_data["network-config"]) == json.loads(without["network-config"]) == CONFIG
    assert without["user-data"].startswith(b"#cloud-config\n")
    assert without["meta-data"] == b"instance-id: 1001\nlocal-hostname: web\n"


def test_the_instance_is_the_same_whatever_nics_it_has() -> None:
    fewer = read(seed_image(replace(SEED, macs=SEED.macs[:1]), USER_DATA))
    assert fewer["meta-data"] == read(seed_image(SEED, USER_DATA))["meta-data"]


def test_the_same_input_gives_the_same_bytes() -> None:
    # Made on another day: whatever of today were in it would tell.
    digest = hashlib.sha256(seed_image(SEED, USER_DATA)).hexdigest()
    assert digest == "2f39e917550a98e422d1b2f3f513dfcaeb28e78f04021117d775971d4bef3840"
