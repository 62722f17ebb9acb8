"""Defines all that runs as root on a host: a shell that reads a script, and three scripts for files and sockets.

The files in host/ name the same commands: what sudo allows, and what a dedicated key is limited to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

SHELL: Final = ("/bin/sh", "-s")
"""A shell that reads its script. The purpose follows as arguments, so that the host can check it."""

READY: Final = "reconciler: ready\n"
BEGIN: Final = 'begin "$@"; exit\n'
"""The last line of a script that reads more input. A shell may read ahead, so the rest is sent after READY."""

PUT: Final = (
    """\
begin() {
set -eu
trap '' PIPE
mode=${4:-0644} d=$(dirname -- "$2")
[ "$mode" != 0600 ] || [ -d "$d" ] || mkdir -p -m 0700 -- "$d"
t=$(mktemp -- "$2.partial.XXXXXX")
trap 'rm -f -- "$t"' EXIT
echo reconciler: ready
cat >"$t"
[ "$(stat -c %s -- "$t")" = "$3" ] || { echo "the upload was cut short"; exit 1; }
chmod "$mode" -- "$t"
sync -- "$t"
mv -fT -- "$t" "$2"
}
"""
    + BEGIN
)
"""`put PATH SIZE [0600]`: only a complete file gets the name, because to `cat` a lost connection looks like its end.

PIPE is ignored: an error message to a client that is gone must not end the shell before it deletes the partial file.
"""

GET: Final = (
    """\
begin() {
set -eu
[ -f "$2" ] && [ ! -L "$2" ] || { echo "there is no file $2"; exit 1; }
size=$(stat -c %s -- "$2")
printf 'reconciler: ready\\n%s\\n' "$size"
exec cat -- "$2"
}
"""
    + BEGIN
)
"""`get PATH`: the size of a file in bytes, on a line, and its content."""

FORWARD_SCRIPT: Final = Path(__file__).with_name("forward.sh")
FORWARD: Final = FORWARD_SCRIPT.read_text(encoding="ascii")
"""`forward PATH` or `forward localhost:PORT`: only root may use the sockets of VMs, so root forwards the bytes.

A port is one that the command line of a process names as its display, as QEMU's does. It is a process of root, or of
the user of the VM whose pidfile it names, as the group of the VM's directory shows.

It is a file, so that a person can send it as well: `cat forward.sh - | ssh HOST sudo -n /bin/sh -s forward PATH`. It
is written in Perl, which every Debian has. Once the client is gone, the other side has five seconds to end.
"""
