"""Defines all that runs as root on a host: a shell that reads a script, and three scripts for files and sockets.

The files in host/ name the same commands: what sudo allows, and what a dedicated key is limited to.
"""

from __future__ import annotations

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

FORWARD: Final = (
    """\
begin() {
exec perl -MSocket -e '
    my ($there) = @ARGV;
    my $port = $there =~ /^localhost:([0-9]+)$/ ? $1 : 0;
    my $address = $port ? sockaddr_in($port, INADDR_LOOPBACK) : sockaddr_un($there);
    socket(my $socket, $port ? PF_INET : PF_UNIX, SOCK_STREAM, 0) or die "$there: $!\\n";
    connect($socket, $address) or die "$there: $!\\n";
    sub carry {
        my ($from, $to) = @_;
        while (sysread($from, my $piece, 65536)) {
            while (length($piece)) { substr($piece, 0, syswrite($to, $piece) || return) = ""; }
        }
    }
    syswrite(STDOUT, "reconciler: ready\\n");
    open(STDERR, ">", "/dev/null");
    my $receiving = $$;
    my $sending = fork() // die;
    if ($sending) { carry($socket, *STDOUT); kill("KILL", $sending); exit; }
    carry(*STDIN, $socket);
    shutdown($socket, 1);
    sleep(5);
    kill("KILL", $receiving) if getppid() == $receiving;
' "$2"
}
"""
    + BEGIN
)
"""`forward PATH` or `forward localhost:PORT`: only root may use the sockets of VMs, so root forwards the bytes.

It is written in Perl, which every Debian has. Once the client is gone, the other side has five seconds to end.
"""
