"""Uploads seed images to a worker: small disks with a VM's user-data, which only root and the VM's user can read.

A file beside each seed has its owner, the digest of its user-data, and the hash of its file. The host computes that
hash and keeps it: a plain hash would help to brute-force a short secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.apply.drivers import paths
from reconciler.apply.drivers.driver import Driver, Found, Survey, SurveyTarget
from reconciler.apply.drivers.ownership import list_files, owns, parse_files, refuse, retag, slice_of, stop_at, tagged
from reconciler.apply.seed_image import seed_image
from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Operation, PrivateUpload, Result, script
from reconciler.errors import ForeignObject
from reconciler.plan.resources import ROOT, Seed
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.models.names import Address, VmId, VmName

# Six lines for each path: whether it exists, whether an upload left files, owner, the digest of its user-data, whether
# file and mode are unchanged since it was created or its VM started, the MACs in it.
PROBE = """
for path do
    present= left= owner= digest= sum= same= macs=
    if [ -e "$path" ]; then present=yes; fi
    for part in "$path.new"*; do
        if [ -e "$part" ]; then left=yes; fi
    done
    if [ -e "$path.owner" ]; then
        { IFS= read -r owner; IFS= read -r digest; IFS= read -r sum; IFS= read -r macs; } < "$path.owner" || :
    fi
    if [ -n "$present" ] && [ -n "$sum" ]; then
        mode=$(stat -c %a:%u:%g -- "$path")
        group=$(stat -c %g -- "${path%/*}")
        case $mode in 600:0:*|"640:0:$group")
            if [ "$(sha256sum < "$path")" = "$sum" ]; then same=yes; fi
        esac
    fi
    printf '%s\\n' "$present" "$left" "$owner" "$digest" "$same" "$macs"
done
"""

# The upload gets its name last: until then there is no seed, or the earlier one.
PLACE = """
umask 077
sum=$(sha256sum < "$1.new")
printf '%s\\n' "$2" "$3" "$sum" "$4" > "$1.owner"
mv -fT -- "$1.new" "$1"
rm -f -- "$1.new."*
"""

REMOVE = """
rm -f -- "$1" "$1.new" "$1.new."* "$1.owner.new" "$1.owner"
if [ -d "$2" ]; then rmdir --ignore-fail-on-non-empty -- "$2"; fi
"""


@dataclass(frozen=True, slots=True)
class SeedFact:
    """What exists at a seed's path. `cloud_init` is empty unless the file is unchanged since it was created.

    `macs` are those in it; a seed that an earlier version made has none.
    """

    present: bool
    left: bool
    owner: str
    cloud_init: str
    macs: tuple[str, ...] = ()


def probe(seeds: Sequence[Seed]) -> tuple[Command, ...]:
    """Return the command that reads the seeds and the files beside them; the host hashes the content."""
    return (script(PROBE, *(seed.path for seed in seeds)),)


def parse(seeds: Sequence[Seed], results: Sequence[Result]) -> Mapping[Address, SeedFact]:
    """Read one fact for each seed."""
    found = output.records(seeds[0].host, results[0], count=len(seeds), width=6)
    return {
        seed.address: SeedFact(
            present == "yes", left == "yes", owner, digest if same == "yes" else "", tuple(macs.split())
        )
        for seed, (present, left, owner, digest, same, macs) in zip(seeds, found, strict=True)
    }


def ensure(seed: Seed, fact: SeedFact, before: Seed | None) -> tuple[Operation, ...]:
    """Upload the seed unless it exists unchanged. A guest that has an earlier one open keeps it until it stops.

    A host does not tell which host name is in a seed.
    """
    stop_at(_obstacle(seed, fact))
    named = before is None or before.hostname == seed.hostname
    if fact.present and named and (fact.cloud_init, fact.macs) == (seed.cloud_init, seed.macs):
        return () if fact.owner == seed.address else (retag(f"{seed.path}.owner", seed.address),)
    place = script(PLACE, seed.path, seed.address, seed.cloud_init, " ".join(seed.macs))
    return PrivateUpload(f"{seed.path}.new", seed.address), place


def remove(seed: Seed, fact: SeedFact) -> tuple[Operation, ...]:
    """Delete the seed, files that an upload left, and the VM's directory if it is empty."""
    stop_at(_obstacle(seed, fact))
    if not (fact.present or fact.left or fact.owner):
        return ()
    return (script(REMOVE, seed.path, paths.parent(seed.path)),)


def observed(seed: Seed, fact: SeedFact) -> Mapping[str, Any] | None:
    """Return the path, the digest of the user-data, which is empty if the file was changed, and the MACs."""
    if not fact.present or _obstacle(seed, fact):
        return None
    return {"path": seed.path, "cloud_init": fact.cloud_init, "macs": list(fact.macs)}


def _obstacle(seed: Seed, fact: SeedFact) -> ForeignObject | None:
    if not owns(seed, fact.owner) and (fact.present or fact.owner):
        return refuse(seed, f"the file {seed.path}", fact.owner)
    return None


def survey(target: SurveyTarget, results: Sequence[Result]) -> Iterator[Found]:
    """Find seeds, and leftovers of them, by the owner files beside them."""
    for file in parse_files(target.host, results[0]):
        owner, digest, _ = file.lines
        if (where := tagged(Seed, owner)) is not None:
            path = file.path.removesuffix(".owner")
            seed = Seed(
                address=where,
                slice=slice_of(Seed, where),
                host=target.host,
                path=path,
                vm_id=VmId(output.number(paths.parent(path).rpartition("/")[2])),
                hostname=where.rpartition("/")[2],
                cloud_init=digest,
            )
            yield Found(seed, file.mark)


def content(seed: Seed, written: ExpandedSlice) -> Callable[[], bytes] | None:
    """Return a function that builds the seed image from the VM's user-data."""
    user_data = written.vms[VmName(seed.hostname)].cloud_init
    return None if user_data is None else lambda: seed_image(seed, user_data.reveal())


SURVEY: Survey[Seed] = Survey((list_files(f"{ROOT}/vms", 2, "*.owner"),), survey, lambda seed: seed.path)
DRIVER = Driver(Seed, probe, parse, ensure, remove, observed, SURVEY, content)
