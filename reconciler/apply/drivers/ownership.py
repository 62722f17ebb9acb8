"""Decides who owns an object on a host: its tag is the address of its resource, and other objects are foreign.

An object of a renamed resource has the former address as its tag until the resource's step writes the new one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Result, script
from reconciler.errors import ForeignObject
from reconciler.plan.resources import Resource, Scope, address
from reconciler.spec.models.names import Address

TAG = "reconciler"
"""The key of `external_ids` that holds the address; the longer keys start with it."""


def refuse(resource: Resource, thing: str, owner: str) -> ForeignObject:
    """Return the error that names an object in the way. `owner` is its tag, empty if it has none."""
    owned = f"belongs to {owner}" if owner else "is not ours"
    return ForeignObject(
        resource.host,
        f"{thing} is in the way of {resource.address}: it {owned}",
        hint="it was not changed; remove or rename it by hand, then run apply again",
    )


def owns(resource: Resource, tag: str) -> bool:
    """Whether an object with this tag is the resource's: the tag is its address, or one that it had before a rename."""
    return tag == resource.address or tag in resource.formerly


def stop_at(obstacle: ForeignObject | None) -> None:
    """Raise the error if an object is in the way."""
    if obstacle is not None:
        raise obstacle


def tags(resource: Resource) -> dict[str, str]:
    """Return the `external_ids` of a resource's port on the switch: its address, owner and slice, VM and interface."""
    found = {TAG: str(resource.address)}
    if resource.slice is None:
        return found
    found[f"{TAG}-owner"] = resource.slice.partition("/")[0]
    found[f"{TAG}-slice"] = resource.slice
    vm, colon, interface = resource.address.partition(f"/{resource.slice}/")[2].rpartition(":")
    if colon and "--" not in vm + interface:
        found |= {f"{TAG}-vm": vm, f"{TAG}-interface": interface}
    return found


# Writes a new first line into a file of tags, at once; the lines below it stay.
RETAG = """
path=$1 address=$2
umask 022
{
    read -r _ || :
    printf '%s\\n' "$address"
    cat
} < "$path" > "$path.new"
mv -- "$path.new" "$path"
"""


def retag(path: str, address: Address) -> Command:
    """Return the command that writes the address of a renamed resource into the file beside its object."""
    return script(RETAG, path, address)


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@/-]*")
_WIDTH = 5

# Five lines for each file of a pattern at a depth below a directory: a mark that distinguishes it from a later file of
# the same name, its path, and the first three lines of its content.
LIST_FILES = """
[ -d "$1" ] || exit 0
find "$1" -mindepth "$2" -maxdepth "$2" -name "$3" -type f -printf '%i.%C@ %p\\n' |
while read -r mark path; do
    one= two= three=
    { IFS= read -r one; IFS= read -r two; IFS= read -r three; } 2> /dev/null < "$path" || :
    printf '%s\\n' "$mark" "$path" "$one" "$two" "$three"
done
"""


@dataclass(frozen=True, slots=True)
class OwnedFile:
    """A file of ours on a host, with the first lines of its content."""

    mark: str
    path: str
    lines: tuple[str, ...]


def list_files(directory: str, depth: int, pattern: str) -> Command:
    """Return the command that lists files with the owner of themselves or of the file beside them."""
    return script(LIST_FILES, directory, str(depth), pattern)


def parse_files(host: str, result: Result) -> Iterator[OwnedFile]:
    """Parse the output of `list_files`."""
    for mark, path, *lines in output.rows(host, result, width=_WIDTH):
        yield OwnedFile(mark, path, tuple(lines))


def tagged(noun: type[Resource], tag: str) -> Address | None:
    """Return the address of this kind in a tag; None if it is of another kind, or not an address."""
    kind, _, name = tag.partition("/")
    return address(noun, name) if kind == noun.kind and _NAME.fullmatch(name) else None


def slice_of(noun: type[Resource], where: Address) -> str | None:
    """Return the slice in an address; None for resources that slices share."""
    owner, slash, rest = where.partition("/")[2].partition("/")
    if noun.scope is Scope.SHARED or not slash:
        return None
    return f"{owner}/{rest.partition('/')[0].partition('@')[0]}"
