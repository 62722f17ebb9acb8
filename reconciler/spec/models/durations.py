"""Reads and writes durations, such as `90`, `90s`, `2m`, `1h` and `1d`."""

from __future__ import annotations

import re
from typing import Final

DURATION_FORMS: Final = "a number of seconds, or a number with s, m, h or d, such as 90, 30s, 2m, 1h or 1d"
"""What parse_duration reads, for error messages and hints."""

LONGEST_DURATION: Final = 36_500 * 86_400
"""100 years, in seconds: longer durations are typing errors, and some would overflow a timedelta."""

_DURATION = re.compile(r"(?P<count>[0-9]{1,10}(?:\.[0-9]{1,3})?)(?P<unit>[smhd]?)")
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_duration(text: str) -> float:
    """Return a duration in seconds; raises ValueError, which says what is wrong and what to write."""
    found = _DURATION.fullmatch(text.strip())
    seconds = float(found["count"]) * _UNITS[found["unit"]] if found else None
    if seconds is None or seconds > LONGEST_DURATION:
        msg = f"{text!r} is not a valid duration; write {DURATION_FORMS}"
        raise ValueError(msg)
    return seconds


def format_duration(seconds: float) -> str:
    """Write whole seconds in the largest unit that divides them, and other durations in seconds (milliseconds kept)."""
    if seconds != int(seconds):
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    unit = next(unit for unit in ("d", "h", "m", "s") if seconds % _UNITS[unit] == 0 and (seconds or unit == "s"))
    return f"{int(seconds) // _UNITS[unit]}{unit}"
