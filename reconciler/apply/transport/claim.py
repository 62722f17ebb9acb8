"""Renders the part of a script that keeps a host for one state, and parses what a host says of the state that has it.

A host keeps in FOLDER which state uses it, and copies of what that state has there:

    owner           a line each: the lineage of the state, the number of its latest apply here, since when it has used
                    the host, its cluster, who made the latest apply, and the place of the state
    LINEAGE/NAME    a copy of a part of that state, one line of text

A host compares the lineage before the first task of each batch, and refuses a batch of any other state.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Result, script
from reconciler.plan.resources import ROOT

FOLDER: Final = f"{ROOT}/state"


@dataclass(frozen=True, slots=True)
class HostOwner:
    """The state that uses a host: its latest apply there, since when (ISO 8601, UTC), its cluster, by whom and where.

    `place` is the file or the database of the state, without a password.
    """

    lineage: str
    apply: int
    since: str
    cluster: str
    who: str
    place: str

    def lines(self) -> tuple[str, ...]:
        """Return the values as the file has them; none contains a newline."""
        values = (self.lineage, str(self.apply), self.since, self.cluster, self.who, self.place)
        return tuple(" ".join(value.split()) for value in values)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a host writes before the first task of an apply: who uses it, and copies of parts of the state by name.

    With `take`, it belongs to another state no longer.
    """

    owner: HostOwner
    copies: Mapping[str, str] = field(default_factory=dict)
    take: bool = False
    folder: str = FOLDER


def render_check(claim: Claim, nonce: str) -> str:
    """Write the lines that refuse a host of another state, and set `w` where this claim is not written yet.

    A state that has used the host before keeps its time `y`.
    """
    return _CHECK.format(
        file=shlex.quote(f"{claim.folder}/owner"),
        lineage=shlex.quote(claim.owner.lineage),
        apply=claim.owner.apply,
        since=shlex.quote(claim.owner.since),
        take=int(claim.take),
        nonce=nonce,
    )


_CHECK: Final = """\
c={file} a= b= y= w=1
if [ -e "$c" ]; then {{ read -r a; read -r b; read -r y; }} <"$c"; fi
case $b in ''|*[!0-9]*) b=0;; esac
if [ "$a" = {lineage} ]; then
[ "$b" -lt {apply} ] || w=
else
[ -z "$a" ] || [ {take} = 1 ] ||
{{ printf '%s\\n' "{nonce} owned"; refuse "it belongs to the state $a, not to this one"; }}
y={since}
fi
"""


def render_writing(claim: Claim) -> str:
    """Write the lines that write the copies, and the owner unless a later apply of the state has been here.

    The copies help when a state is lost. A host that has no space for them is used all the same.
    """
    folder = f"{claim.folder}/{claim.owner.lineage}"
    lines = [f"[ -d {shlex.quote(folder)} ] || (umask 077; mkdir -p -- {shlex.quote(folder)})"]
    for name, text in sorted(claim.copies.items()):
        path = shlex.quote(f"{folder}/{name}")
        new = shlex.quote(f"{folder}/{name}.new")
        lines.append(f"printf '%s\\n' {shlex.quote(text)} 2>/dev/null >{new} && mv -f -- {new} {path} || :")
    lineage, apply, _, *rest = map(shlex.quote, claim.owner.lines())
    lines.append(_WRITE_OWNER.format(values=f'{lineage} {apply} "$y" {" ".join(rest)}'))
    return "\n".join(lines)


_WRITE_OWNER: Final = """\
[ -z "$w" ] || {{ printf '%s\\n' {values} >"$c.new" && sync -- "$c.new" && mv -f -- "$c.new" "$c"; }} ||
refuse "its owner cannot be written to $c"
"""


READ_OWNER: Final = script('[ ! -e "$1/owner" ] || cat -- "$1/owner"', FOLDER)
"""The command that prints the owner of a host; nothing if it has none."""

_OWNER_LINES = 6


def parse_owner(host: str, result: Result) -> HostOwner | None:
    """Return the state that uses a host, or None if none does or the file is cut short."""
    lines = output.text(host, result).splitlines()
    if len(lines) < _OWNER_LINES:
        return None
    lineage, apply, *rest = lines[:_OWNER_LINES]
    return HostOwner(lineage, output.number(apply), *rest)


READ_COPIES: Final = script(
    """
for path in "$1"/*/*; do
    case $path in *.new) continue;; esac
    [ -f "$path" ] || continue
    text=; IFS= read -r text < "$path" || :
    printf '%s\\n' "${path#"$1"/}" "$text"
done
""",
    FOLDER,
)
"""The command that prints each copy on a host: a line with its lineage and name, and a line with its text."""


def parse_copies(host: str, result: Result) -> tuple[tuple[str, str], ...]:
    """Return the name and the text of each copy that a host has."""
    found = output.rows(host, result, width=2)
    return tuple((path.partition("/")[2], text) for path, text in found)


def write_copy(lineage: str, name: str, text: str) -> Command:
    """Return the command that replaces a copy of a part of a state."""
    return replace(script(_WRITE, f"{FOLDER}/{lineage}/{name}"), stdin=f"{text}\n")


_WRITE = 'mkdir -p -- "${1%/*}" && cat > "$1.new" && mv -f -- "$1.new" "$1"'


def drop_copy(lineage: str, name: str) -> Command:
    """Return the command that deletes a copy of a part of a state."""
    return Command(("rm", "-f", "--", f"{FOLDER}/{lineage}/{name}"))


_RELEASE = """
read -r lineage < "$1/owner" || exit 0
[ "$lineage" = "$2" ] || exit 0
rm -rf -- "$1/owner" "${1:?}/$2"
rmdir -- "$1" 2> /dev/null || :
"""


def release(lineage: str) -> Command:
    """Return the command that frees a host for other states, if it belongs to this one."""
    return script(_RELEASE, FOLDER, lineage)


def drop_others(lineage: str) -> Command:
    """Return the command that deletes the copies of all other states."""
    return script('find "$1" -mindepth 1 -maxdepth 1 -type d ! -name "$2" -exec rm -rf -- {} +', FOLDER, lineage)
