"""Formats a preview as Markdown: one comment for a review.

Whatever a branch contains, its text stays inside code: no mention, link, image, tag or fence comes out of it. The
comment has at most LONGEST characters, with all fences closed; what does not fit is in `rest`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from reconciler.plan.model import Action
from reconciler.plan.planfile import plan_digest
from reconciler.spec.quota import Excess, Usage
from reconciler.spec.quoting import escape, plural
from reconciler.views.errors import problems_text
from reconciler.views.plan_text import DISTURBED, SYMBOLS, slice_lines
from reconciler.views.preview import SliceChanges, alike, changed_slices, headline, notes
from reconciler.views.preview_mermaid import mermaid

if TYPE_CHECKING:
    from reconciler.workflow.preview import OwnerUsage, Preview

LONGEST = 60_000
"""The most characters of a comment: GitHub takes 65,536, also when it is edited."""

_LONGEST_SECTION = 20_000
_ROWS = 100
"""How many slices the table has at most."""

_NAMED = 60
"""How many slices with the same changes, or VMs that lose their data, are named at most."""

_ACTIONS = (Action.CREATE, Action.UPDATE, Action.REPLACE, Action.DELETE)


class Comment(NamedTuple):
    """The Markdown of a preview, and what did not fit into it; empty if everything did."""

    text: str
    rest: str


def comment(found: Preview) -> Comment:
    """Return a preview as one comment."""
    sections, foot = list(_sections(found)), _foot(found)
    room = LONGEST - len(foot) - 200  # the note
    kept: list[str] = []
    for number, section in enumerate(sections):
        room -= len(section)
        if room < 0:
            left = sections[number:]
            note = f"\n{plural(len(left), 'part')} of this preview did not fit here: see `preview-rest.md`.\n"
            return Comment("".join([*kept, note, foot]), "".join(left))
        kept.append(section)
    return Comment("".join([*kept, foot]), "")


def marker(cluster: str) -> str:
    """Return the first line of each comment for a cluster, by which it is found again."""
    return f"<!-- reconciler:preview cluster={cluster} -->"


def _sections(found: Preview) -> Iterator[str]:
    """Yield the parts of the comment, the most important first; each is whole by itself."""
    changed = changed_slices(found)
    yield _head(found, changed)
    if found.problems:
        new_first = sorted(found.problems, key=lambda one: one in found.known_problems)
        yield _folded("Problems", "text", problems_text(new_first), is_open=bool(found.new_problems))
    if changed:
        yield _table(changed)
    if found.usage:
        yield _quotas(found.usage)
    for group in alike(changed):
        yield _changes(group)
    if picture := mermaid(found):
        yield _folded("Topology of what changes", "mermaid", picture)


def _head(found: Preview, changed: Iterable[SliceChanges]) -> str:
    lines = [
        marker(found.cluster),
        f"### Preview: {inline(found.head.name)} into {inline(found.base.name)}",
        "",
        f"**{plain(headline(found))}**",
        "",
    ]
    if losing := [name for one in changed for name in one.losing]:
        more = f" and {len(losing) - _NAMED} more" if len(losing) > _NAMED else ""
        named = ", ".join(inline(name) for name in losing[:_NAMED])
        lines += [f"**Data is lost** on {plural(len(losing), 'VM')}: {named}{more}", ""]
    return "\n".join([*lines, *(f"- {plain(note)}" for note in notes(found))]) + "\n"


def _table(changed: Sequence[SliceChanges]) -> str:
    rows = [
        "",
        "| slice | owner | + | ~ | -/+ | - | VMs restarted | VMs disturbed | VMs losing data | VLANs |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for one in changed[:_ROWS]:
        owner, _, name = one.key.partition("/") if one.key else ("", "", "(shared)")
        numbers = [
            *(one.count(action) for action in _ACTIONS),
            *map(len, (one.restarted, one.disturbed, one.losing)),
        ]
        rows.append(f"| {' | '.join([name, owner, *(str(number or '') for number in numbers), _vlans(one)])} |")
    if len(changed) > _ROWS:
        rows += ["", f"and {plural(len(changed) - _ROWS, 'slice')} more"]
    return "\n".join(rows) + "\n"


def _vlans(one: SliceChanges) -> str:
    """Return the VLANs of a slice before and after."""
    if one.vlans_before == one.vlans_after:
        return one.vlans_after
    return f"{one.vlans_before or 'none'} → {one.vlans_after or 'none'}"


def _quotas(usages: Iterable[OwnerUsage]) -> str:
    rows = ["", "| owner | quota of | before | after | limit |", "|---|---|--:|--:|--:|"]
    for usage in usages:
        for what, had, has in zip(Usage._fields, usage.before, usage.after, strict=True):
            if what in usage.limits and had != has:
                show = Excess(what, 0, 0, 0).show
                rows.append(f"| {usage.owner} | {what} | {show(had)} | {show(has)} | {show(usage.limits[what])} |")
    return "\n".join(rows) + "\n" if len(rows) > 3 else ""  # noqa: PLR2004 - the head of the table


def _changes(group: Sequence[SliceChanges]) -> str:
    """Format the changes of slices that are alike, with those of the first."""
    first = group[0]
    title = first.key or "shared by slices"
    if len(group) > 1:
        title = f"{len(group)} x the same {plural(len(first.changes), 'change')}, as in {title}"
    text = "\n".join(_diff(first))
    names = ", ".join(inline(one.key or "") for one in group[1 : _NAMED + 1])
    more = f" and {len(group) - 1 - _NAMED} more" if len(group) - 1 > _NAMED else ""
    return _folded(title, "diff", text, after=f"Also: {names}{more}\n" if names else "")


def _diff(one: SliceChanges) -> Iterator[str]:
    """Yield the lines of a diff block: the symbol is in the first column, and a change in place is `!`."""
    for line in slice_lines(one.changes, one.disturbed, grouped=True):
        symbol, _, rest = line.strip().partition(" ")
        if symbol == SYMBOLS[Action.UPDATE]:
            symbol = DISTURBED
        is_change = symbol in {*SYMBOLS.values(), DISTURBED} and not line.startswith(" " * 8)
        yield f"{symbol} {rest}" if is_change else f"      {line.strip()}"


def _folded(title: str, language: str, text: str, *, is_open: bool = False, after: str = "") -> str:
    """Put text into a fence that it cannot close, below a title that is clicked."""
    lines = text.rstrip("\n").split("\n")
    while sum(map(len, lines)) + len(lines) > _LONGEST_SECTION:
        lines = [*lines[: len(lines) // 2], "..."]
    shown = "\n".join(escape(line)[:_LONGEST_SECTION] for line in lines)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
    state = " open" if is_open else ""
    return (
        f"\n<details{state}><summary>{_html(title)}</summary>\n\n"
        f"{fence}{language}\n{shown}\n{fence}\n\n{after}</details>\n"
    )


def inline(text: str) -> str:
    """Return text as a piece of code in a line, whatever it contains."""
    text = escape(text).replace("\n", " ")
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def plain(text: str) -> str:
    """Return text of a line with everything escaped that Markdown, HTML or a mention could be made of."""
    return re.sub(r"([\\`*_{}\[\]()<>#!|~&@])", lambda match: f"&#{ord(match[1])};", escape(text).replace("\n", " "))


def _html(text: str) -> str:
    return re.sub(r"[<>&@\"'`]", lambda match: f"&#{ord(match[0])};", escape(text))


def _foot(found: Preview) -> str:
    digest = "" if found.plan is None else f", plan {plan_digest(found.plan)[:12]}"
    return (
        f"\n<sub>{found.head.commit[:12]} into {found.base.commit[:12]}, state at serial {found.serial}{digest}</sub>\n"
    )
