"""Speaks to the monitors of QEMU processes (QMP), in Perl, which every Debian has.

A monitor has one client at a time: to another one it does not answer.
"""

from __future__ import annotations

# `attach` opens the monitor in a directory, `ask` sends a command and returns the answer. Both die with a line that
# names the monitor; `$absent` says that no process listens there. The shell has this text in single quotes.
MONITOR = """
use Socket;
$SIG{ALRM} = sub { die "$there does not answer: another program uses the monitor of this VM\\n" };
sub attach {
    $there = "$_[0]/qmp.sock";
    $said = "";
    socket($monitor, PF_UNIX, SOCK_STREAM, 0) or die "$there: $!\\n";
    if (!connect($monitor, sockaddr_un($there))) {
        $absent = $!{ENOENT} || $!{ECONNREFUSED};
        die "$there: $!\\n";
    }
    ask("qmp_capabilities");
}
sub ask {
    my ($what, $arguments) = @_;
    $arguments = "{}" unless defined $arguments;
    syswrite($monitor, "{\\"execute\\": \\"$what\\", \\"arguments\\": $arguments}\\n") or die "$there: $!\\n";
    while (1) {
        while ($said =~ s/^(.*)\\n//) {
            my $line = $1;
            return $line if $line =~ /^\\{"return"/;
            die "$there: " . ($line =~ /"desc": "(.*)"/ ? $1 : $line) . "\\n" if $line =~ /^\\{"error"/;
        }
        sysread($monitor, $said, 65536, length($said)) or die "$there: QEMU has ended\\n";
    }
}
sub run_state { return ask("query-status") =~ /"status": "([a-z-]+)"/ ? $1 : ""; }
"""
