"""How users' text stands in our sentences: escaped, cut, quoted; and "did you mean"; the sentences are others'."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_SHOWN = 60
"""Characters of a user's text that a sentence repeats at most."""


def escape(text: str) -> str:
    """Write control and invisible characters as escapes, so that no terminal acts on them."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def shown(text: str, *, quote: bool = True) -> str:
    """Return a user's text as it may stand in a sentence: escaped, at most MAX_SHOWN characters, in quotes."""
    safe = escape(text[: MAX_SHOWN + 1])
    if len(safe) > MAX_SHOWN:
        safe = safe[: MAX_SHOWN - 3] + "..."
    return f"'{safe}'" if quote else safe


def did_you_mean(word: str, known: Iterable[str], *, else_list: bool = True) -> str | None:
    """Return a hint with the likeliest known word, else with the known ones if wanted; None where there are none."""
    choices = sorted(known)
    close = difflib.get_close_matches(word[:MAX_SHOWN], choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"known here: {_listed(choices)}" if choices and else_list else None


def _listed(words: list[str], most: int = 12) -> str:
    more = len(words) - most
    return ", ".join(words[:most]) + (f" and {more} more" if more > 0 else "")
