"""The image of a seed, read back: its label, its files, and the same bytes whenever and wherever it is made."""

from __future__ import annotations

import hashlib
import io

from pycdlib import PyCdlib

from reconciler.apply.seed_image import seed_image
from tests.apply.drivers.sample import SEED

USER_DATA = b"#!/bin/sh\necho hello\n"


def test_every_guest_finds_the_files_by_their_names() -> None:
    image = PyCdlib()
    image.open_fp(io.BytesIO(seed_image(SEED, USER_DATA)))
    assert image.pvd.volume_identifier.rstrip() == b"cidata"
    meta_data = f"instance-id: {SEED.instance_id}\nlocal-hostname: web\n".encode()
    for name, content in (("user-data", USER_DATA), ("meta-data", meta_data)):
        for names in ("rr_path", "joliet_path"):
            found = io.BytesIO()
            image.get_file_from_iso_fp(found, **{names: f"/{name}"})
            assert found.getvalue() == content
    image.close()


def test_the_same_input_gives_the_same_bytes() -> None:
    # Made on another day: whatever of today were in it would tell.
    digest = hashlib.sha256(seed_image(SEED, USER_DATA)).hexdigest()
    assert digest == "920c9dfb2d499a7d4b98a941452f25be1b2866b5e0d11bd34e0b0884c4af2fd6"
