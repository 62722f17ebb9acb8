"""Starts QEMU as a user of its own: opens for it what only root may open, and drops all privileges.

A VM's directory belongs to root. Its process may enter it but write nothing there, so no name in it leads root
elsewhere. It owns its overlay and its pidfile, and reads its seed. It gets its sockets and TAPs open: it can neither
replace a socket nor open the TAP of another VM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from reconciler.plan.resources import Vm

SOCKETS: Final = ("qmp", "serial", "agent")
"""The sockets in a VM's directory, without `.sock`, in the order of their descriptors."""

FIRST_SOCKET: Final = 64
FIRST_TAP: Final = 70
"""The descriptors through which QEMU gets its sockets and its TAPs: above all that are open before."""

CGROUPS: Final = "/sys/fs/cgroup"
"""Where hosts have cgroup v2. Those with version 1 have other things there, and limit nothing."""

_PERIOD: Final = 100_000  # microseconds, of cpu.max
_TASKS: Final = 128  # threads of QEMU beside those of the guest's processors; 64 of them for its disk
_OVERHEAD: Final = 512 * 2**20  # bytes that QEMU takes for devices, screen and caches, and a part of the guest's memory
_TRANSLATED: Final = 2**30  # bytes of translated code that TCG keeps

# /dev/kvm belongs to a group on hosts with udev. TUNSETIFF and TUNSETOWNER are of linux/if_tun.h, 0x1002 is
# IFF_TAP | IFF_NO_PI.
CONFINE: Final = (
    """
use POSIX qw(dup2);
use Socket;
my ($directory, $uid, $cpu, $memory, $tasks, $disk, $seed, $taps) = splice(@ARGV, 0, 8);
sub allow {
    my ($path, $mode, $owner) = @_;
    return unless -e $path;
    chown($owner, $uid, $path) && chmod($mode, $path) or die "$path: $!\\n";
}
sub pass { my ($from, $as) = @_; dup2(fileno($from), $as) or die "$directory: $!\\n"; }
my ($vms) = $directory =~ m{^(.*)/[^/]*$};
my ($root) = $vms =~ m{^(.*)/[^/]*$};
for my $path ($root, $vms, "$root/images") {
    my $mode = (stat $path)[2];
    chmod(($mode & 07777) | 0111, $path) if defined($mode) && ($mode & 0111) != 0111;
}
open(my $pidfile, ">", "$directory/qemu.pid") or die "$directory/qemu.pid: $!\\n";
allow("$directory/qemu.pid", 0600, $uid);
allow($disk, 0600, $uid);
allow($seed, 0640, 0);
allow($directory, 0710, 0);
umask(0077);
my $as = FIRST_SOCKET;
for my $name (qw(SOCKETS)) {
    my $path = "$directory/$name.sock";
    my $socket;
    socket($socket, PF_UNIX, SOCK_STREAM, 0) && bind($socket, sockaddr_un($path)) && listen($socket, 1)
        or die "$path: $!\\n";
    pass($socket, $as++);
}
$as = FIRST_TAP;
for my $tap (split(/ /, $taps)) {
    open(my $device, "+<", "/dev/net/tun") or die "/dev/net/tun: $!\\n";
    ioctl($device, 0x400454ca, pack("a16 S x22", $tap, 0x1002)) or die "$tap: $!\\n";
    ioctl($device, 0x400454cc, $uid + 0) or die "$tap: $!\\n";
    pass($device, $as++);
}
sub put { my ($path, $text) = @_; my $file; -e $path && open($file, "+<", $path) && syswrite($file, $text); }
if (-e "CGROUPS/cgroup.controllers") {
    my ($id) = $directory =~ m{([^/]*)$};
    my ($all, $own) = ("CGROUPS/reconciler", "CGROUPS/reconciler/vm-$id");
    mkdir($all);
    mkdir($own);
    for my $controller (qw(+cpu +memory +pids)) { put("$_/cgroup.subtree_control", $controller) for "CGROUPS", $all; }
    put("$own/cpu.max", $cpu);
    put("$own/memory.max", $memory);
    put("$own/pids.max", $tasks);
    put("$own/cgroup.procs", $$);
}
my $group = grep(/accel=kvm/, @ARGV) && (stat "/dev/kvm")[5];
my @may = $group ? ("--groups=$group") : ("--clear-groups");
@may = (@may, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all");
exec("setpriv", "--reuid=$uid", "--regid=$uid", @may, "--", @ARGV) or die "setpriv: $!\\n";
""".replace("FIRST_SOCKET", str(FIRST_SOCKET))
    .replace("FIRST_TAP", str(FIRST_TAP))
    .replace("SOCKETS", " ".join(SOCKETS))
    .replace("CGROUPS", CGROUPS)
)
"""Arguments: the VM's directory, its user's id, which its group has too, its `limits`, its overlay, its seed, the names
of its TAPs with spaces between them, and QEMU's command line. The shell has this text in single quotes.

A cgroup limits only what the host lets it limit; a VM starts without it too.
"""

LEAVE_CGROUP: Final = f"""
rmdir "{CGROUPS}/reconciler/vm-${{1##*/}}" "{CGROUPS}/reconciler" 2> /dev/null || :
"""
"""Removes the cgroup of an ended process, and that of all VMs after the last one."""

AS_OWNER: Final = (
    'setpriv "--reuid=$(stat -c %u -- "$path")" "--regid=$(stat -c %g -- "$path")" --clear-groups '
    "--no-new-privs --bounding-set=-all --inh-caps=-all --"
)
"""Runs a program as the owner of the file `$path`: what a guest may have written is not read as root."""


def limits(vm: Vm) -> tuple[str, str, str]:
    """Return what cpu.max, memory.max and pids.max of a VM's cgroup are: its flavor, and what QEMU itself needs."""
    memory = vm.memory + vm.memory // 16 + _OVERHEAD + (_TRANSLATED if vm.accelerator == "tcg" else 0)
    return f"{vm.vcpus * _PERIOD} {_PERIOD}", str(memory), str(vm.vcpus + _TASKS)


def descriptors(nics: Sequence[object]) -> range:
    """Return the descriptors of the TAPs of these NICs."""
    return range(FIRST_TAP, FIRST_TAP + len(nics))
