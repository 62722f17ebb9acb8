"""How many random examples a test tries: all in `make test`, and a quarter in `make test-unit`."""

from __future__ import annotations

from typing import Final

from hypothesis import settings

UNIT: Final = "unit"
"""The profile of Hypothesis that `make test-unit` chooses."""


def register_profiles() -> None:
    """Tell Hypothesis of the profile."""
    settings.register_profile(UNIT, max_examples=settings.get_profile("default").max_examples // 4)


def examples(count: int) -> int:
    """Return the number of examples for a test that tries `count` in a full run."""
    return max(count * settings().max_examples // settings.get_profile("default").max_examples, 1)
