"""Passes each connection on a host's port to an `sshd -i` inside the host.

A socket belongs to the network namespace where it was created. The inherited listener therefore stays on the machine's
loopback, while every session runs in the host's own network. This process is in the host's PID namespace, so it ends
with the host's PID 1. It sees the files of the machine, so it can be started again while the host runs.

    acceptor.py PID, with the listener as standard input; PID is the host's PID 1, as the machine numbers it
"""

import os
import signal
import socket
import sys
import time

HOST = sys.argv[1]
READY = f"/proc/{HOST}/root/run/lab/ready"
ENTER = ("/usr/bin/nsenter", f"--target={HOST}", "--mount", "--net", "--")
SSHD = (*ENTER, "/usr/sbin/sshd", "-i", "-f", "/run/lab/sshd_config")
POLL = 0.01  # seconds


def serve(listener: socket.socket) -> None:
    """Accept connections for ever; until the host is ready, they wait in the backlog."""
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
    os.execv(SSHD[0], SSHD)  # noqa: S606 - no shell is needed, and the path is absolute


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    serve(socket.socket(fileno=0))
