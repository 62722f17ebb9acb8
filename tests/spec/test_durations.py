from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.spec.models.durations import LONGEST_DURATION, format_duration, parse_duration
from reconciler.spec.quoting import plural


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("90s", 90),
        ("1.5s", 1.5),
        ("2m", 120),
        ("1h", 3600),
        ("1.5h", 5400),
        ("1d", 86400),
        (" 5s ", 5),
    ],
)
def test_durations_are_read_in_seconds(written: str, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    ["", "s", "-1s", "1w", "1 m", "1e3", "nan", "inf", "٣s", "1s\n1s", "1h30m", "1.2345s", "36501d"],
)
def test_everything_else_is_not_a_duration(written: str) -> None:
    with pytest.raises(ValueError, match="is not a valid duration; write a number of seconds"):
        parse_duration(written)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0s"), (90, "90s"), (120, "2m"), (3600, "1h"), (86400, "1d"), (90000, "25h"), (1.5, "1.5s"), (0.25, "0.25s")],
)
def test_durations_are_written_in_the_largest_unit(seconds: float, written: str) -> None:
    assert format_duration(seconds) == written


@given(st.integers(0, LONGEST_DURATION) | st.integers(1, 10**6).map(lambda count: count / 1000))
def test_a_written_duration_reads_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)


def test_plurals() -> None:
    assert [plural(count, "slice") for count in (0, 1, 2)] == ["0 slices", "1 slice", "2 slices"]
    assert [plural(2, noun) for noun in ("VM", "entry", "key")] == ["2 VMs", "2 entries", "2 keys"]
