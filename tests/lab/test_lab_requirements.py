"""Each thing that a machine lacks for a lab is one message with a remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reconciler import lab as labs
from reconciler.errors import LabError
from reconciler.lab import requirements

pytestmark = pytest.mark.lab

_CALL = """
import sys
from reconciler.errors import LabError
from reconciler import lab
try:
    getattr(lab, sys.argv[1])("unprivileged", report=print)
except LabError as error:
    print(error.summary, error.hint, sep=" | ")
"""


def test_without_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECONCILER_LAB_DIR", str(tmp_path / "labs"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"a lab needs Debian's packages .*openvswitch-switch.*tini") as missing:
        labs.up("lab", report=print)
    assert missing.value.hint is not None
    assert missing.value.hint.startswith("apt-get install busybox-static cpio dnsmasq-base dosfstools iproute2 kmod")
    assert not (tmp_path / "labs").exists()


def test_without_one_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for program in {*requirements.PROGRAMS} - {"qemu-img"}:
        (tmp_path / program).write_text("#!/bin/true\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"^a lab needs Debian's package qemu-utils$") as missing:
        requirements.check()
    assert missing.value.hint == "apt-get install qemu-utils"


@pytest.mark.parametrize("call", ["up", "down"])
def test_without_root(call: str) -> None:
    # Loaded before the privilege is dropped: nobody may not read the checkout, nor the interpreter.
    script = f"import os\nfrom reconciler import lab\nos.setgroups([])\nos.setgid(65534)\nos.setuid(65534)\n{_CALL}"
    done = subprocess.run([sys.executable, "-c", script, call], text=True, capture_output=True, check=True)
    assert done.stderr == ""
    assert done.stdout == (
        "a lab needs root, because it creates network namespaces | run it again with `sudo`, or as root\n"
    )


def test_without_a_kernel_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    # A real failure of a real command: no kernel has a link type of this name.
    monkeypatch.setitem(requirements.FEATURES, "warp", "ip link add lab-e type warp")
    with pytest.raises(LabError, match="the kernel of this machine does not support warp, which a lab needs"):
        requirements.check()
