"""Creates, grows and deletes the QCOW2 overlays of VMs. An overlay holds data: it is never replaced or shrunk.

A file beside the overlay has its address, backing file and size. It is written first and deleted last, and after a
growth: an apply that is killed in between grows the overlay to the same size once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.apply.drivers import paths
from reconciler.apply.drivers.confinement import AS_OWNER
from reconciler.apply.drivers.driver import Driver, Found, Survey, SurveyTarget
from reconciler.apply.drivers.monitor import MONITOR
from reconciler.apply.drivers.ownership import list_files, owns, parse_files, refuse, retag, slice_of, stop_at, tagged
from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Operation, RemoteFile, Result, Transfer, script
from reconciler.errors import ForeignObject, HostError
from reconciler.plan.resources import ROOT, Disk
from reconciler.spec.models.names import Address, Bytes

# Five lines for each path: whether the overlay exists, whether a creation left files, owner, backing file, size.
PROBE = """
for path do
    present= partial= owner= backing= size=
    if [ -e "$path" ]; then present=yes; fi
    if [ -e "$path.partial" ]; then partial=yes; fi
    if [ -e "$path.owner" ]; then
        { IFS= read -r owner; IFS= read -r backing; IFS= read -r size; } < "$path.owner" || :
    fi
    printf '%s\\n' "$present" "$partial" "$owner" "$backing" "$size"
done
"""

# The directory also has the VM's sockets, which give access to the guest.
CREATE = (
    """
path=$1 address=$2 backing=$3 size=$4 directory=$5
header=$(od -A n -v -t x1 -N 104 -- "$backing" | tr -d ' \\n')
unusable() { echo "$backing $1" >&2; exit 1; }
case $header in 514649fb*) ;; *) unusable 'is not a QCOW2 image' ;; esac
case $header in BACKING_IS_0*) ;; *) unusable 'has a backing file, which the guest would read from this host' ;; esac
case $header in
    ????????00000003FEATURES[4567cdef]*) unusable 'keeps its data in another file' ;;
esac
size_in_image=${header#UP_TO_SIZE}
size_in_image=$((0x${size_in_image%"${size_in_image#????????????????}"}))
[ "$size_in_image" -le "$size" ] || unusable "has $size_in_image bytes, more than the disk, which has $size"
umask 022
[ -d "$directory" ] || mkdir -p -m 0700 -- "$directory"
printf '%s\\n' "$address" "$backing" "$size" > "$path.owner"
umask 077
qemu-img create -q -f qcow2 -F qcow2 -b "$backing" -- "$path.partial" "$size"
mv -- "$path.partial" "$path"
""".replace("BACKING_IS_0", "?" * 16 + "0" * 16)
    .replace("UP_TO_SIZE", "?" * 48)
    .replace("FEATURES", "?" * 143)
)

# QEMU locks the overlay of a running VM, so only QEMU itself can grow it.
GROW = (
    """
path=$1 address=$2 backing=$3 size=$4 directory=$5
status=0
perl -e '"""
    + MONITOR
    + """
my ($directory, $size) = @ARGV;
eval { alarm(10); attach($directory); ask("block_resize", "{\\"device\\": \\"disk0\\", \\"size\\": $size}"); };
exit 3 if $absent;
if ($@) { print STDERR $@; exit 1; }
' "$directory" "$size" || status=$?
case $status in
    0) ;;
    3) """
    + AS_OWNER
    + """ qemu-img resize -q -f qcow2 -- "$path" "$size" ;;
    *) exit "$status" ;;
esac
umask 022
printf '%s\\n' "$address" "$backing" "$size" > "$path.owner.new"
mv -- "$path.owner.new" "$path.owner"
"""
)

# Before a copy from another host arrives, atomically, and after it. An overlay that is here already is not this one's.
RECEIVE = """
path=$1 address=$2 backing=$3 size=$4 directory=$5
if [ -e "$path" ]; then echo "$path is here already" >&2; exit 1; fi
if ! [ -e "$backing" ]; then echo "there is no $backing" >&2; exit 1; fi
umask 022
[ -d "$directory" ] || mkdir -p -m 0700 -- "$directory"
printf '%s\\n' "$address" "$backing" "$size" > "$path.owner"
"""

REMOVE = """
rm -f -- "$1" "$1.partial"* "$1.owner.new" "$1.owner"
if [ -d "$2" ]; then rmdir --ignore-fail-on-non-empty -- "$2"; fi
"""


@dataclass(frozen=True, slots=True)
class DiskFact:
    """What exists at an overlay's path. Backing file and size are those that it was created with."""

    present: bool
    partial: bool
    owner: str
    backing: str
    size: int


def probe(disks: Sequence[Disk]) -> tuple[Command, ...]:
    """Return the command that reads the overlays and the files beside them."""
    return (script(PROBE, *(disk.path for disk in disks)),)


def parse(disks: Sequence[Disk], results: Sequence[Result]) -> Mapping[Address, DiskFact]:
    """Read one fact for each overlay."""
    found = output.records(disks[0].host, results[0], count=len(disks), width=5)
    return {
        disk.address: DiskFact(present == "yes", partial == "yes", owner, backing, output.number(size))
        for disk, (present, partial, owner, backing, size) in zip(disks, found, strict=True)
    }


def ensure(disk: Disk, fact: DiskFact, before: Disk | None) -> tuple[Operation, ...]:
    """Create, grow or copy the overlay; raises HostError rather than replace or shrink one that has data."""
    stop_at(_obstacle(disk, fact))
    if before is not None and before.host != disk.host:
        return _copied(disk, fact, before)
    described = (disk.path, disk.address, disk.backing, str(disk.size))
    if not fact.present:
        return (script(CREATE, *described, paths.parent(disk.path)),)
    if fact.backing == disk.backing and fact.size < disk.size:
        return (script(GROW, *described, paths.parent(disk.path)),)
    if (fact.backing, fact.size) != (disk.backing, disk.size):
        raise HostError(
            disk.host,
            f"{disk.path} is an overlay of {fact.backing} with {fact.size} bytes, "
            f"not of {disk.backing} with {disk.size}",
            hint="it holds a guest's data and was not changed; destroy the VM to have it created again",
        )
    return () if fact.owner == disk.address else (retag(f"{disk.path}.owner", disk.address),)


def _copied(disk: Disk, fact: DiskFact, before: Disk) -> tuple[Operation, ...]:
    """Return how to copy an overlay from the host where it was, and to grow the copy if that is wanted too.

    Raises HostError if an overlay is here: it may be an older one, or a copy of which nobody knows that it is complete.
    """
    if fact.present:
        raise HostError(
            disk.host,
            f"{disk.path} is here already, and was not replaced by the one on {before.host}",
            hint="run apply again: it deletes what an unfinished move left; `reconciler gc` deletes anything else",
        )
    described, directory = (disk.path, disk.address, disk.backing), paths.parent(disk.path)
    receive = script(RECEIVE, *described, str(before.size), directory)
    copy = Transfer(disk.path, RemoteFile(before.host, before.path))
    if disk.size <= before.size:
        return receive, copy
    return receive, copy, script(GROW, *described, str(disk.size), directory)


def remove(disk: Disk, fact: DiskFact) -> tuple[Operation, ...]:
    """Delete the overlay, files that a creation left, and the VM's directory if it is empty."""
    stop_at(_obstacle(disk, fact))
    if not (fact.present or fact.partial or fact.owner):
        return ()
    return (script(REMOVE, disk.path, paths.parent(disk.path)),)


def observed(disk: Disk, fact: DiskFact) -> Mapping[str, Any] | None:
    """Return path, backing file and size as found."""
    if not fact.present or _obstacle(disk, fact):
        return None
    return {"path": disk.path, "backing": fact.backing, "size": fact.size}


def _obstacle(disk: Disk, fact: DiskFact) -> ForeignObject | None:
    if not owns(disk, fact.owner) and (fact.present or fact.partial or fact.owner):
        return refuse(disk, f"the file {disk.path}", fact.owner)
    return None


def survey(target: SurveyTarget, results: Sequence[Result]) -> Iterator[Found]:
    """Find overlays, and leftovers of them, by the owner files beside them."""
    for file in parse_files(target.host, results[0]):
        owner, backing, size = file.lines
        if (where := tagged(Disk, owner)) is not None:
            disk = Disk(
                address=where,
                slice=slice_of(Disk, where),
                host=target.host,
                path=file.path.removesuffix(".owner"),
                backing=backing,
                size=Bytes(output.number(size)),
            )
            yield Found(disk, file.mark)


SURVEY: Survey[Disk] = Survey((list_files(f"{ROOT}/vms", 2, "*.owner"),), survey, lambda disk: disk.path)
DRIVER = Driver(Disk, probe, parse, ensure, remove, observed, SURVEY)
