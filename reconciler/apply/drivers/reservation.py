"""Reserves the addresses of VMs on the internet VLAN: one file for each, which the DHCP server reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.apply.drivers import dhcp, network, paths
from reconciler.apply.drivers.driver import Driver, Found, Survey, SurveyTarget
from reconciler.apply.drivers.ownership import list_files, owns, parse_files, refuse, slice_of, stop_at, tagged
from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Operation, Result, script
from reconciler.errors import ForeignObject
from reconciler.plan.resources import Reservation
from reconciler.spec.models.names import Address

_MARK = "# "
_CLIENTS = "inet reconciler_uplink clients"

LIST_CLIENTS = f"nft -j list set {_CLIENTS} 2> /dev/null || :"

# Two lines for each file: its owner and its entry.
PROBE = """
for path do
    owner= entry=
    if [ -e "$path" ]; then { IFS= read -r owner; IFS= read -r entry; } < "$path" || :; fi
    printf '%s\\n' "$owner" "$entry"
done
"""

# The server notices a new file by itself when it is complete; of one that changes it keeps the former entry too, until
# it reads all of them again. It does not give out an address that another NIC still leases, so such a lease is deleted
# while the server is stopped. Without a gateway there is no set of clients yet; a new one gets those of all files.
CREATE = (
    dhcp.START_SERVER
    + """
directory=$1 path=$2 address=$3 mac=$4 ip=$5 hostname=$6 admit=$7 clients=$8
umask 022
if [ -n "$admit" ] && nft -t list set $clients > /dev/null 2>&1; then echo "$admit" | nft -f -; fi
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
if [ -n "$3" ]; then echo "$3" | nft -f -; fi
rm -f -- "$2"
find_server "$1"
if [ -n "$pid" ]; then kill -HUP "$pid"; fi
"""
)


@dataclass(frozen=True, slots=True)
class ReservationFact:
    """A reservation's file, its owner and entry, both empty if there is none; and whether requests reach the server."""

    owner: str
    entry: str
    admitted: bool


def probe(reservations: Sequence[Reservation]) -> tuple[Command, ...]:
    """Return the commands that read the files, and for whom requests reach the DHCP server."""
    return (script(PROBE, *(_path(one) for one in reservations)), script(LIST_CLIENTS))


def parse(reservations: Sequence[Reservation], results: Sequence[Result]) -> Mapping[Address, ReservationFact]:
    """Read one fact for each reservation."""
    host = reservations[0].host
    found = output.records(host, results[0], count=len(reservations), width=2)
    admitted = frozenset(mac for (mac,) in dhcp.read_clients(network.parse_set(host, output.text(host, results[1]))))
    return {
        one.address: ReservationFact(owner.removeprefix(_MARK), entry, one.mac in admitted)
        for one, (owner, entry) in zip(reservations, found, strict=True)
    }


def ensure(one: Reservation, fact: ReservationFact, _before: Reservation | None) -> tuple[Operation, ...]:
    """Write the file for the DHCP server."""
    stop_at(_obstacle(one, fact))
    if fact.entry == _entry(one) and fact.owner == one.address and fact.admitted:
        return ()
    hostname = dhcp.write_hostname(one.hostname)
    admit = "" if fact.admitted else _change("add", one)
    return (script(CREATE, paths.UPLINK, _path(one), one.address, one.mac, one.ip, hostname, admit, _CLIENTS),)


def remove(one: Reservation, fact: ReservationFact) -> tuple[Operation, ...]:
    """Delete the file and make the DHCP server read its files again."""
    stop_at(_obstacle(one, fact))
    if not (fact.owner or fact.entry or fact.admitted):
        return ()
    return (script(REMOVE, paths.UPLINK, _path(one), _change("delete", one) if fact.admitted else ""),)


def observed(one: Reservation, fact: ReservationFact) -> Mapping[str, Any] | None:
    """Return the content of the file."""
    if not fact.entry or _obstacle(one, fact):
        return None
    mac, _, rest = fact.entry.partition(",")
    ip, _, hostname = rest.partition(",")
    return {"mac": mac, "ip": ip, "hostname": dhcp.read_hostname(hostname), "admitted": fact.admitted}


def _path(one: Reservation) -> str:
    return paths.beneath(paths.RESERVATIONS, one.mac.replace(":", "-"))


def _change(verb: str, one: Reservation) -> str:
    """Return the line for nft(8) that lets requests of the NIC reach the server, or no longer."""
    return f"{verb} element {_CLIENTS} {{ {dhcp.client(one.mac)} }}"


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
