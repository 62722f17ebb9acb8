"""Writes what a guest sends to its serial port into files of bounded size, in Perl, which every Debian has.

QEMU alone would write a log without end. It writes into a pipe instead, and a logger for each VM reads it until QEMU
ends.
"""

from __future__ import annotations

LOGGER = """
my ($directory, $limit) = @ARGV;
my ($half, $size, $log) = (int($limit / 2), 0);
$0 = "serial-log $directory";
chdir $directory or exit 1;
sub begin {
    rename "serial.log", "serial.log.1";
    $size = 0;
    open($log, ">", "serial.log") or undef $log;
}
begin();
while (sysread(STDIN, my $said, 65536)) {
    while (length $said) {
        begin() if !$log || $size >= $half;
        my $written = $log && syswrite($log, $said, $half - $size);
        last unless $written;
        substr($said, 0, $written) = "";
        $size += $written;
    }
}
"""
"""Arguments: the VM's directory, and the bytes that `serial.log` and the part before it, `serial.log.1`, take together.

What cannot be written, because the disk is full, is dropped: a guest must not wait for its log. The shell has this text
in single quotes.
"""

WAIT_FOR_LOGGER = """
exec 4< "$1"
flock -w 10 4 || { echo "the process that writes $1/serial.log does not end" >&2; exit 1; }
"""
"""Waits until the logger of an ended process has written the rest, and locks the VM's directory against another one.

A logger inherits the lock with descriptor 4, and so keeps it until it ends.
"""
