"""Starts and stops the QEMU process of each VM. Its disk and TAPs exist before the process and outlive it.

A process is ours if root started it, for itself or for its VM's user, and its command line names the guest and our
pidfile. The name of a process that runs cannot change: of a VM that was renamed, a file has its address, and the name
that the process was started with. Guests are not shut down: SIGTERM makes QEMU write its buffers to the disk and exit,
as if the guest's power were cut.
"""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

from reconciler.apply.drivers.confinement import CONFINE, LEAVE_CGROUP, limits
from reconciler.apply.drivers.driver import Driver, Found, Survey, SurveyTarget
from reconciler.apply.drivers.monitor import MONITOR
from reconciler.apply.drivers.ownership import owns, refuse, slice_of, stop_at, tagged
from reconciler.apply.drivers.qemu import launch, option, settings
from reconciler.apply.drivers.serial_log import LOGGER, WAIT_FOR_LOGGER
from reconciler.apply.seed_image import network_image
from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Operation, Result, script
from reconciler.errors import ForeignObject, HostError
from reconciler.plan.resources import ROOT, Disk, Nic, Vm, address
from reconciler.plan.resources.vm import RUNNING, STOPPED
from reconciler.spec.models.cluster import FIRST_UID
from reconciler.spec.models.names import Address, Bytes, VmId

_VMS = f"{ROOT}/vms"
_CRASHED = frozenset({"guest-panicked", "internal-error", "shutdown"})
_HEADER = re.compile(r"==> /proc/([0-9]+)/cmdline <==")

# Prints the given command lines in /proc whose processes root started in this PID namespace, for itself as earlier
# versions did or for the user of a VM: another user can give a process any name, and a container's process is not the
# host's. The group of a VM's directory shows its user; where it is deleted, the user that VMs normally have. Each has a
# header with its process id, then one argument on each line.
_SHOW = """
show() {
    perl -e '
for my $line (@ARGV) {
    my ($pid) = $line =~ m{^/proc/([0-9]+)/};
    my ($from, $said, $status);
    open($from, "<", $line) && read($from, $said, 65536) or next;
    open($from, "<", "/proc/$pid/status") && read($from, $status, 65536) or next;
    my ($uid) = $status =~ /^Uid:\\t([0-9]+)\\t\\1\\t/m or next;
    $status =~ /^NSpid:\\t[0-9]+$/m or next;
    my ($directory, $id) = $said =~ m{-pidfile\\0([^\\0]*/([0-9]+))/qemu[.]pid\\0} or next;
    my $group = (stat $directory)[5];
    next unless $uid == 0 || $uid == (defined $group ? $group : FIRST_UID + $id);
    $said =~ tr/\\0/\\n/;
    print "==> $line <==\\n$said\\n";
}' -- "$@"
}
""".replace("FIRST_UID", str(FIRST_UID))

# Prints the run state of the guest of each directory, or nothing where no monitor answers.
_RUN_STATES = (
    MONITOR
    + """
for my $directory (@ARGV) {
    my $state = "";
    if (-S "$directory/qmp.sock") { eval { alarm(3); attach($directory); $state = run_state(); }; alarm(0); }
    print "$state\\n";
}
"""
)

# Waits until the monitor of a new process answers, which shows that all its devices are ready.
_READY = (
    MONITOR
    + """
for (1 .. 1500) {
    exit 0 if eval { alarm(30); attach($ARGV[0]); 1 };
    exit 1 unless -e "/proc/$ARGV[1]/stat";
    select(undef, undef, undef, 0.02);
}
exit 1;
"""
)

# The process is an ordinary user's, it gets no privilege, and its system calls are filtered: it cannot start another
# program. Such a process cannot make a daemon of itself, so it is put into the background here. What it says until it
# is ready is the error; later there is no reader, and QEMU ignores that, as it does if its logger was killed. It
# inherits the pipe to its logger, because to open one without a reader it would wait for ever. Neither begins before
# both ends are open.
START = (
    WAIT_FOR_LOGGER
    + """
directory=$1
limit=$2
shift 2
case $* in
*"$directory/network.iso"*) (umask 077; base64 -d | gzip -d > "$directory/network.iso") ;;
esac
errors=$directory/errors
serial=$directory/serial
rm -f -- "$directory/qemu.pid" "$directory/qmp.sock" "$directory/agent.sock" "$errors"
rm -f -- "$serial.sock" "$serial.pipe" "$serial.log" "$serial.log.1" "$directory/vm.owner"
mkfifo -m 600 -- "$errors" "$serial.pipe"
trap 'rm -f -- "$errors" "$errors.txt" "$serial.pipe"' EXIT
cat < "$errors" > "$errors.txt" 4<&- &
reader=$!
setsid setpriv --no-new-privs --bounding-set=-all --inh-caps=-all -- perl -e '"""
    + LOGGER
    + """' -- "$directory" "$limit" < "$serial.pipe" > /dev/null 2>&1 &
setsid perl -e '"""
    + CONFINE
    + """' -- "$directory" "$@" > /dev/null 2> "$errors" 3> "$serial.pipe" 4<&- &
process=$!
exec 4<&-
if ! perl -e '"""
    + _READY
    + """' -- "$directory" "$process"; then
    kill "$process" 2> /dev/null || :
    wait "$reader" || :
    cat -- "$errors.txt" >&2
    exit 1
fi
kill "$reader" 2> /dev/null || :
"""
)

# Lets the guest of a directory go on, and checks that it does: QEMU stops it again if its disk still has no space.
CONTINUE = (
    MONITOR
    + """
eval { alarm(10); attach($ARGV[0]); ask("cont"); select(undef, undef, undef, 0.3); $state = run_state(); };
if ($@) { print STDERR $@; exit 1; }
if ($state ne "running") {
    print STDERR "the guest stopped again: $state\\n";
    print STDERR "QEMU cannot write its disk: make room on this host, then run apply again\\n" if $state eq "io-error";
    exit 1;
}
"""
)

# Makes a guest ask DHCP again: it sees that these NICs lose their cable, and get it back six seconds later, because
# systemd-networkd ignores a loss of up to five. Meanwhile the steps of other VMs go on.
PLUG = (
    MONITOR
    + """
my ($directory, $up, @nics) = @ARGV;
$0 = "plug $directory";
sub plug { ask("set_link", "{\\"name\\": \\"net$_\\", \\"up\\": $_[0]}") for @nics; }
if ($up eq "false") { alarm(20); attach($directory); plug("false"); exit; }
sleep(6);
for (1 .. 60) {
    exit if eval { alarm(5); attach($directory); plug("true"); 1 } || $absent;
    alarm(0);
    sleep(1);
}
"""
)

REPLUG = (
    """
directory=$1
shift
perl -e '"""
    + PLUG
    + """' -- "$directory" false "$@"
setsid perl -e '"""
    + PLUG
    + """' -- "$directory" true "$@" < /dev/null > /dev/null 2>&1 &
"""
)

# A file in a VM's directory: the VM's address, and the name with which its process was started before it was renamed.
RENAME = """
umask 022
printf '%s\\n' "$2" "$3" > "$1/vm.owner.new"
mv -- "$1/vm.owner.new" "$1/vm.owner"
"""

# Sets `renamed` to the content of that file, as two words; empty where there is none.
_RENAMED = """
    renamed= name=
    if [ -e "$directory/vm.owner" ]; then
        { IFS= read -r renamed; IFS= read -r name; } 2> /dev/null < "$directory/vm.owner" || :
        renamed=" $renamed $name"
    fi
"""

# A line for each directory: whether a process left files in it, and whether that was renamed. Then a line for each: the
# run state. Then a line `--`, and the command lines of processes whose option names a pidfile there. Processes may run
# although that file, or the directory, is gone. grep reads the patterns from a pipe, so that it does not find itself.
PROBE = (
    _SHOW
    + """
for directory do
    left=
    for name in qemu.pid qmp.sock serial.sock agent.sock serial.log serial.log.1 serial.pipe; do
        if [ -e "$directory/$name" ]; then left=yes; fi
    done
"""
    + _RENAMED
    + """
    printf '%s\\n' "$left$renamed"
done
perl -e '"""
    + _RUN_STATES
    + """' -- "$@"
echo --
show $(printf '%s/qemu.pid\\n' "$@" | grep -lszFx -f - /proc/[0-9]*/cmdline)
"""
)

# A process gets SIGTERM, and SIGKILL after ten seconds. A zombie has an empty command line.
STOP = """
runs() {
    line=
    [ -e "/proc/$1/cmdline" ] || return 1
    { IFS= read -r line || :; } 2> /dev/null < "/proc/$1/cmdline" || :
    case $line in *"$2"*) return 0 ;; esac
    return 1
}
kill -TERM "$1" 2> /dev/null || :
tries=0
while runs "$1" "$2"; do
    tries=$((tries + 1))
    if [ "$tries" -eq 100 ]; then kill -KILL "$1" 2> /dev/null || :; fi
    if [ "$tries" -gt 200 ]; then
        echo "process $1 does not end" >&2
        exit 1
    fi
    sleep 0.1
done
"""

CLEAN = (
    """
[ -d "$1" ] || exit 0
"""
    + WAIT_FOR_LOGGER
    + """
rm -f -- "$1/qemu.pid" "$1/qmp.sock" "$1/serial.sock" "$1/serial.log" "$1/serial.log.1" "$1/serial.pipe"
rm -f -- "$1/agent.sock" "$1/network.iso" "$1/vm.owner" "$1/vm.owner.new"
"""
    + LEAVE_CGROUP
)

# Two lines for each directory in which a process left files: its path, and the owner of the overlay in it, with the
# rename of the process. Then a line `--`, and the command lines of all processes whose pidfile is in such a directory,
# as above.
SURVEY_PROCESSES = (
    _SHOW
    + """
for directory in "$1"/*; do
    left= owner=
    for name in qemu.pid qmp.sock serial.sock agent.sock serial.log serial.log.1 serial.pipe; do
        if [ -e "$directory/$name" ]; then left=yes; fi
    done
    [ -n "$left" ] || continue
    for path in "$directory"/*.owner; do
        { IFS= read -r owner || :; } 2> /dev/null < "$path" || :
        case $owner in disk/*) break ;; esac
    done
"""
    + _RENAMED
    + """
    printf '%s\\n' "$directory" "$owner$renamed"
done
echo --
show $(grep -lszx -e "$1/[^/]*/qemu[.]pid" /proc/[0-9]*/cmdline)
"""
)


@dataclass(frozen=True, slots=True)
class Process:
    """A process of root whose command line names a VM's pidfile."""

    pid: int
    arguments: tuple[str, ...]


class Renamed(NamedTuple):
    """The address of a VM that was renamed while it ran, and the name that its process was started with."""

    address: str
    guest: str


@dataclass(frozen=True, slots=True)
class VmFact:
    """The processes that run from a VM's directory, normally one at most, and whether there are files of a process.

    `run_state` is empty where no monitor answers. `renamed` says that the process has a former name.
    """

    processes: tuple[Process, ...]
    left: bool
    run_state: str = ""
    renamed: Renamed | None = None

    @property
    def whole(self) -> bool:
        """Whether one process runs and its files exist: without them, its screen and monitor cannot be reached."""
        return len(self.processes) == 1 and self.left


def probe(vms: Sequence[Vm]) -> tuple[Command, ...]:
    """Return the command that reads the directories, and the command lines of the processes that run from them."""
    return (script(PROBE, *(vm.directory for vm in vms)),)


def parse(vms: Sequence[Vm], results: Sequence[Result]) -> Mapping[Address, VmFact]:
    """Read one fact for each VM."""
    host = vms[0].host
    lines = output.text(host, results[0]).split("\n")
    count, end = len(vms), 2 * len(vms)
    if len(lines) <= end or lines[end] != "--":
        raise HostError(host, "the probe of VMs printed something unexpected")
    running: dict[str, list[Process]] = {}
    for process in _processes(lines[end + 1 :]):
        running.setdefault(_pidfile(process), []).append(process)
    facts: dict[Address, VmFact] = {}
    for vm, line, state in zip(vms, lines[:count], lines[count:end], strict=True):
        left, renamed = _read_renamed(line)
        processes = tuple(running.get(f"{vm.directory}/qemu.pid", ()))
        facts[vm.address] = VmFact(processes, left == "yes", state, renamed)
    return facts


def _read_renamed(line: str) -> tuple[str, Renamed | None]:
    """Split a line into its first word and a rename, where there is one."""
    first, *rest = line.split(" ")
    return first, Renamed(*rest) if len(rest) == len(Renamed._fields) else None


def ensure(vm: Vm, fact: VmFact, before: Vm | None) -> tuple[Operation, ...]:
    """Run the VM as described. A process that differs, has lost its files or has a crashed guest is stopped first.

    A guest that goes on running asks again for the addresses that DHCP changes. It is never restarted for a name.
    """
    stop_at(_obstacle(vm, fact))
    same = fact.whole and settings(fact.processes[0].arguments) == settings(launch(vm))
    if not same or fact.run_state in _CRASHED:
        return (*_stop(vm, fact), _start(vm))
    nics = [str(nic) for nic in vm.asks_again(before)] if before is not None else []
    operations: list[Operation] = []
    if _owner(name := _name(fact.processes[0]), fact.renamed) != vm.address:
        operations.append(script(RENAME, vm.directory, vm.address, name))
    if fact.run_state in STOPPED:
        operations.append(Command(("perl", "-e", CONTINUE, "--", vm.directory)))
    if nics:
        operations.append(script(REPLUG, vm.directory, *nics))
    return tuple(operations)


def _start(vm: Vm) -> Command:
    """Return the command that starts the process; a VM without user-data gets a disk with its network configuration."""
    seed = vm.network_seed if vm.cloud_init is None else vm.seed
    taps = " ".join(nic.tap for nic in vm.nics)
    given = (str(vm.serial_log), str(vm.uid), *limits(vm), vm.disk, seed, taps)
    command = script(START, vm.directory, *given, *launch(vm))
    if vm.cloud_init is not None:
        return command
    return replace(command, stdin=base64.b64encode(gzip.compress(network_image(vm), mtime=0)).decode())


def remove(vm: Vm, fact: VmFact) -> tuple[Operation, ...]:
    """Stop the VM and delete its pidfile, sockets and logs."""
    stop_at(_obstacle(vm, fact))
    stop = _stop(vm, fact)
    return (*stop, script(CLEAN, vm.directory)) if stop or fact.left or fact.renamed else ()


def observed(vm: Vm, fact: VmFact) -> Mapping[str, Any] | None:
    """Return the settings in the process's command line, or None if none runs with its files in place."""
    if not fact.whole or _obstacle(vm, fact):
        return None
    seed = {} if vm.cloud_init is None else {"cloud_init": None}
    state = fact.run_state if fact.run_state in STOPPED | _CRASHED else RUNNING
    own = {"vm_id": vm.vm_id, "directory": vm.directory, "run_state": state}
    return own | seed | settings(fact.processes[0].arguments)


def _obstacle(vm: Vm, fact: VmFact) -> ForeignObject | None:
    for process in fact.processes:
        name = _name(process)
        if not owns(vm, _owner(name, fact.renamed)):
            return refuse(vm, f"process {process.pid}, which runs from {vm.directory},", name)
    return None


def _name(process: Process) -> str:
    """Return the name of a process's guest, as its command line has it."""
    return "".join(str(option(value, "guest")) for key, value in pairwise(process.arguments) if key == "-name")


def _owner(name: str, renamed: Renamed | None) -> str:
    """Return the address of the VM whose process has this name."""
    return renamed.address if renamed is not None and renamed.guest == name else f"{Vm.kind}/{name}"


def _stop(vm: Vm, fact: VmFact) -> tuple[Operation, ...]:
    return tuple(script(STOP, str(process.pid), _mark(vm)) for process in fact.processes)


def _mark(vm: Vm) -> str:
    """Return a part of the process's command line, as the shell reads it: without the NULs between arguments."""
    return f"-pidfile{vm.directory}/qemu.pid"


def _processes(lines: Sequence[str]) -> Iterator[Process]:
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        if header := _HEADER.fullmatch(line):
            current = found.setdefault(header[1], [])
        else:
            current.append(line)
    return (Process(output.number(pid), tuple(arguments)) for pid, arguments in found.items())


def _pidfile(process: Process) -> str:
    return dict(pairwise(process.arguments)).get("-pidfile", "")


def survey(target: SurveyTarget, results: Sequence[Result]) -> Iterator[Found]:
    """Find QEMU's processes by their command lines, and the files of ended ones by the overlay beside them."""
    lines = output.text(target.host, results[0]).split("\n")
    end = next((at for at in range(0, len(lines), 2) if lines[at] == "--"), None)
    if end is None:
        raise HostError(target.host, "the survey of VMs printed something unexpected")
    left = {path: _read_renamed(line) for path, line in zip(lines[0:end:2], lines[1:end:2], strict=True)}
    for process in _processes(lines[end + 1 :]):
        directory, slash, _ = _pidfile(process).rpartition("/qemu.pid")
        _, renamed = left.get(directory, ("", None))
        where = tagged(Vm, _owner(_name(process), renamed))
        if slash and directory.startswith(f"{_VMS}/") and where is not None:
            left.pop(directory, None)
            yield Found(_orphan(target, where, directory, settings(process.arguments)), str(process.pid))
    for directory, (owner, _) in left.items():
        if (disk := tagged(Disk, owner)) is not None:
            yield Found(_orphan(target, address(Vm, disk.partition("/")[2]), directory, settings(())))


def _orphan(target: SurveyTarget, where: Address, directory: str, found: Mapping[str, Any]) -> Vm:
    return Vm(
        address=where,
        slice=slice_of(Vm, where),
        host=target.host,
        vm_id=VmId(output.number(directory.rpartition("/")[2])),
        directory=directory,
        disk=found["disk"],
        vcpus=found["vcpus"],
        memory=Bytes(found["memory"]),
        nics=tuple(Nic(nic["tap"] or "", nic["mac"] or "") for nic in found["nics"]),
        vnc=found["vnc"],
        accelerator=found["accelerator"] or "",
    )


SURVEY: Survey[Vm] = Survey((script(SURVEY_PROCESSES, _VMS),), survey, lambda vm: vm.directory)
DRIVER = Driver(Vm, probe, parse, ensure, remove, observed, SURVEY)
