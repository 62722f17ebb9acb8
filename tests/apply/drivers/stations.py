"""Open TAPs as QEMU would, and plain interfaces, send frames from one and tell on which others they come out.

    stations.py tap:NAME | interface:NAME ...

Each line of input is a JSON list: a station and a frame in hexadecimal. Each line of output is a JSON list of the
stations where the frame came out, within a quarter of a second, as it went in.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import struct
import sys
import time

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x2, 0x1000
_ETH_P_ALL = 0x3
_PATIENCE = 0.25  # seconds


def attach(station: str) -> int:
    """Return a descriptor that reads and writes the frames of a station."""
    kind, _, name = station.partition(":")
    if kind == "tap":
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
        return tap
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_ALL))
    wire.bind((name, 0))
    return wire.detach()


def drain(stations: dict[int, str], frame: bytes, sender: str) -> list[str]:
    """Return the stations that receive a frame before the time is up."""
    reached: set[str] = set()
    deadline = time.monotonic() + _PATIENCE
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select(list(stations), [], [], left)
        for one in ready:
            if os.read(one, 65536)[: len(frame)] == frame and stations[one] != sender:
                reached.add(stations[one])
    return sorted(reached)


def main(names: list[str]) -> None:
    """Serve until the input ends."""
    stations = {attach(name): name.partition(":")[2] for name in names}
    descriptors = {name: one for one, name in stations.items()}
    for line in sys.stdin:
        sender, text = json.loads(line)
        frame = bytes.fromhex(text)
        try:
            os.write(descriptors[sender], frame)
        except OSError as error:
            print(json.dumps([f"not sent: {error.strerror}"]), flush=True)  # noqa: T201 - the output is the answer
        else:
            print(json.dumps(drain(stations, frame, sender)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
