"""Reserves the addresses of VMs on the internet VLAN: one file for each, which the DHCP server reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.apply.drivers import dhcp, paths
from reconciler.apply.drivers.driver import Driver, Found, Survey, SurveyTarget
from reconciler.apply.drivers.ownership import list_files, owns, parse_files, refuse, slice_of, stop_at, tagged
from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Operation, Result, script
from reconciler.errors import ForeignObject
from reconciler.plan.resources import Reservation
from reconciler.spec.models.names import Address

_MARK = "# "

# Two lines for each file: its owner and its entry.
PROBE = """
for path do
    owner= entry=
    if [ -e "$path" ]; then { IFS= read -r owner; IFS= read -r entry; } < "$path" || :; fi
    printf '%s\\n' "$owner" "$entry"
done
"""

# The server notices a new file by itself when it is complete; of one that changes it keeps the former entry too, until
# it reads all of them again. It does not give out an address that another NIC still
# leases, so such a lease is deleted while the server is stopped.
CREATE = (
    dhcp.START_SERVER
    + """
directory=$1 path=$2 address=$3 mac=$4 ip=$5 hostname=$6
umask 022
[ -d "$directory/hosts.d" ] || mkdir -p -- "$directory/hosts.d"
stale= changed=
if [ -e "$path" ]; then changed=yes; fi
if [ -e "$directory/leases" ]; then
    while read -r _ lease_mac lease_ip _; do
        if [ "$lease_ip" = "$ip" ] && [ "$lease_mac" != "$mac" ]; then stale=yes; fi
    done < "$directory/leases"
fi
if [ -n "$stale" ]; then stop_server "$directory"; fi
printf '# %s\\n%s,%s,%s\\n' "$address" "$mac" "$ip" "$hostname" > "$directory/reservation.new"
mv -- "$directory/reservation.new" "$path"
if [ -n "$stale" ]; then
    while read -r expiry lease_mac lease_ip rest; do
        if [ "$lease_ip" != "$ip" ]; then printf '%s\\n' "$expiry $lease_mac $lease_ip $rest"; fi
    done < "$directory/leases" > "$directory/leases.new"
    mv -- "$directory/leases.new" "$directory/leases"
    start_server "$directory" ""
elif [ -n "$changed" ]; then
    find_server "$directory"
    if [ -n "$pid" ]; then kill -HUP "$pid"; fi
fi
"""
)

REMOVE = (
    dhcp.FIND
    + """
rm -f -- "$2"
find_server "$1"
if [ -n "$pid" ]; then kill -HUP "$pid"; fi
"""
)


@dataclass(frozen=True, slots=True)
class ReservationFact:
    """A reservation's file: its owner and entry, both empty if there is none."""

    owner: str
    entry: str


def probe(reservations: Sequence[Reservation]) -> tuple[Command, ...]:
    """Return the command that reads the files."""
    return (script(PROBE, *(_path(one) for one in reservations)),)


def parse(reservations: Sequence[Reservation], results: Sequence[Result]) -> Mapping[Address, ReservationFact]:
    """Read one fact for each reservation."""
    found = output.records(reservations[0].host, results[0], count=len(reservations), width=2)
    return {
        one.address: ReservationFact(owner.removeprefix(_MARK), entry)
        for one, (owner, entry) in zip(reservations, found, strict=True)
    }


def ensure(one: Reservation, fact: ReservationFact, _before: Reservation | None) -> tuple[Operation, ...]:
    """Write the file for the DHCP server."""
    stop_at(_obstacle(one, fact))
    if fact.entry == _entry(one) and fact.owner == one.address:
        return ()
    return (script(CREATE, paths.UPLINK, _path(one), one.address, one.mac, one.ip, dhcp.write_hostname(one.hostname)),)


def remove(one: Reservation, fact: ReservationFact) -> tuple[Operation, ...]:
    """Delete the file and make the DHCP server read its files again."""
    stop_at(_obstacle(one, fact))
    if not (fact.owner or fact.entry):
        return ()
    return (script(REMOVE, paths.UPLINK, _path(one)),)


def observed(one: Reservation, fact: ReservationFact) -> Mapping[str, Any] | None:
    """Return the content of the file."""
    if not fact.entry or _obstacle(one, fact):
        return None
    mac, _, rest = fact.entry.partition(",")
    ip, _, hostname = rest.partition(",")
    return {"mac": mac, "ip": ip, "hostname": dhcp.read_hostname(hostname)}


def _path(one: Reservation) -> str:
    return paths.beneath(paths.RESERVATIONS, one.mac.replace(":", "-"))


def _entry(one: Reservation) -> str:
    return f"{one.mac},{one.ip},{dhcp.write_hostname(one.hostname)}"


def _obstacle(one: Reservation, fact: ReservationFact) -> ForeignObject | None:
    if not owns(one, fact.owner) and (fact.owner or fact.entry):
        return refuse(one, f"the reservation {_path(one)}", fact.owner)
    return None


def survey(target: SurveyTarget, results: Sequence[Result]) -> Iterator[Found]:
    """Find reservations by the owners in their files."""
    for file in parse_files(target.host, results[0]):
        if (where := tagged(Reservation, file.lines[0].removeprefix(_MARK))) is not None:
            _, ip, hostname, *_ = [*file.lines[1].split(","), "", ""]
            one = Reservation(
                address=where,
                slice=slice_of(Reservation, where),
                host=target.host,
                mac=file.path.rpartition("/")[2].replace("-", ":"),
                ip=ip,
                hostname=dhcp.read_hostname(hostname),
            )
            yield Found(one, file.mark)


SURVEY: Survey[Reservation] = Survey((list_files(paths.RESERVATIONS, 1, "*"),), survey, _path)
DRIVER = Driver(Reservation, probe, parse, ensure, remove, observed, SURVEY)
