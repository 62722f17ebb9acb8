"""Renders the part of a script that refuses a process which lost its lock, and parses the fences of a host.

For each state that is used on it, a host keeps the highest token that it has seen of each lock, in FOLDER/LINEAGE, with
one line for each lock: `TOKEN NAME`. A batch has the tokens of its locks. The host compares them under the operation
lock before the first task, and saves higher ones before it does anything.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from reconciler.apply.transport import output
from reconciler.apply.transport.claim import Claim, render_check, render_writing
from reconciler.apply.transport.command import Command, Result, script
from reconciler.plan.resources import ROOT

FOLDER: Final = f"{ROOT}/fence"


@dataclass(frozen=True, slots=True)
class Fence:
    """The locks that an apply holds: the lineage of its state, and the token of each lock by its name.

    With a `claim`, the host belongs to that state, or the batch is refused.
    """

    lineage: str
    tokens: Mapping[str, int]
    folder: str = FOLDER
    claim: Claim | None = None


def render_fence(fence: Fence, nonce: str) -> str:
    """Write the lines that refuse an earlier holder and another state, now and from here on.

    The shell does this without a fork, unless a token is new to the host; writing the file takes two. The new file is
    synced before it replaces the old one, so that a power cut leaves one of the two.
    """
    claim = fence.claim
    cases = "".join(f"{shlex.quote(name)}) t={token};;\n" for name, token in sorted(fence.tokens.items()))
    lines = "".join(f"{token} {name}\n" for name, token in sorted(fence.tokens.items()))
    return _LINES.format(
        check="w=\n" if claim is None else render_check(claim, nonce),
        writing="" if claim is None else render_writing(claim),
        folder=shlex.quote(fence.folder),
        file=shlex.quote(f"{fence.folder}/{fence.lineage}"),
        cases=cases,
        count=len(fence.tokens),
        lines=shlex.quote(lines),
        nonce=nonce,
    )


_LINES: Final = """\
{check}f={file} l= m=0
if [ -e "$f" ]; then
while read -r s n; do
case $s in ''|*[!0-9]*) refuse "the fence $f is damaged";; esac
t=
case $n in
{cases}*) l="$l$s $n
";;
esac
[ -n "$t" ] || continue
[ "$t" -ge "$s" ] || {{ printf '%s\\n' "{nonce} fenced $s $n"; refuse "a later holder of $n has been here"; }}
[ "$t" -gt "$s" ] || m=$((m + 1))
done <"$f"
fi
if [ "$m" -lt {count} ] || [ -n "$w" ]; then
[ -d {folder} ] || mkdir -p -- {folder}
{writing}printf '%s' "$l"{lines} >"$f.new" && sync -- "$f.new" && mv -f -- "$f.new" "$f" ||
refuse "the fence $f cannot be written"
fi
"""

_LINEAGE: Final = re.compile(r"[A-Za-z0-9-]+")

# The name of each file, its lines after a `+` each, and a dot.
_LIST = """
for path in "$1"/*; do
    [ -f "$path" ] || continue
    printf '%s\\n' "${path##*/}"
    while IFS= read -r line || [ -n "$line" ]; do printf '+%s\\n' "$line"; done < "$path"
    echo .
done
"""

LIST_FENCES: Final = script(_LIST, FOLDER)
"""The command that reads all fences of a host."""


def parse_fences(host: str, result: Result) -> Mapping[str, Mapping[str, int]]:
    """Return the highest token of each lock that each state has held there, by its lineage."""
    found: dict[str, dict[str, int]] = {}
    name, locks = "", dict[str, int]()
    for line in output.text(host, result).splitlines():
        if line.startswith("+"):
            token, _, lock = line[1:].partition(" ")
            locks[lock.strip()] = output.number(token)
        elif line != ".":
            name = line
        else:
            if _LINEAGE.fullmatch(name):
                found[name] = locks
            locks = {}
    return found


def drop_other_fences(lineage: str) -> Command:
    """Return the command that deletes the fences of all other states: the host refuses them by its owner."""
    return script('find "$1" -mindepth 1 -maxdepth 1 -type f ! -name "$2" -delete', FOLDER, lineage)
