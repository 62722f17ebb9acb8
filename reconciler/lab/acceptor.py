"""Hand each connection on a host's port to an `sshd -i` inside the host; runs in the host, listens on the machine.

A socket belongs to the network namespace where it was made, so the inherited listener keeps listening on the
machine's loopback while every session lives in the host's own network. It ends with the host's PID 1.
"""

import os
import signal
import socket
import sys
import time

READY = "/run/lab/ready"
SSHD = ("/usr/bin/nsenter", "--target=1", "--net", "--", "/usr/sbin/sshd", "-i", "-f", "/run/lab/sshd_config")
POLL = 0.01  # seconds


def serve(listener: socket.socket) -> None:
    """Accept for ever; until the host is ready, connections wait in the backlog."""
    while not os.path.exists(READY):  # noqa: PTH110 - pathlib would double this program's start and memory
        time.sleep(POLL)
    while True:
        connection, _ = listener.accept()
        with connection:
            if os.fork() == 0:
                become_sshd(connection)


def become_sshd(connection: socket.socket) -> None:
    """Turn this child into sshd with the connection as its standard input and output."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(connection.fileno(), 0)
    os.dup2(connection.fileno(), 1)
    os.execv(SSHD[0], SSHD)  # noqa: S606 - no shell is wanted, and a search of PATH would import what is out of sight


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    serving = socket.socket(fileno=int(sys.argv[1]))
    os.close(os.open("run/lab/acceptor", os.O_CREAT, 0o600))
    serve(serving)
