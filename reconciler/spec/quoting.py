"""Formats names, counts and text that users wrote for messages: escaped, cut, quoted, with "did you mean" hints."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

MAX_SHOWN = 60
"""Characters of a user's text that a message repeats at most."""


def escape(text: str) -> str:
    """Write control and invisible characters as escapes, so that a terminal does not act on them."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def shown(text: str, *, quote: bool = True) -> str:
    """Return a user's text for a message: escaped, at most MAX_SHOWN characters, in quotes."""
    safe = escape(text[: MAX_SHOWN + 1])
    if len(safe) > MAX_SHOWN:
        safe = safe[: MAX_SHOWN - 3] + "..."
    return f"'{safe}'" if quote else safe


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `1 slice`, `2 slices`, `3 entries`."""
    if count == 1:
        return f"1 {noun}"
    form = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else f"{noun}s"
    return f"{count} {form}"


def did_you_mean(word: str, known: Iterable[str], *, else_list: bool = True) -> str | None:
    """Return a hint: the most similar known word, or the list of known words; None if nothing is known."""
    choices = sorted(known)
    close = difflib.get_close_matches(word[:MAX_SHOWN], choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"known here: {listed(choices, 12)}" if choices and else_list else None


def listed(words: Sequence[str], most: int) -> str:
    """Return words in one line, and how many there are beyond `most`."""
    more = len(words) - most
    return ", ".join(words[:most]) + (f" and {more} more" if more > 0 else "")
