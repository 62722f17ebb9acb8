"""Provides dataclasses that type checkers treat as frozen, for values that a plan creates by the ten thousand.

A frozen dataclass assigns each field through `object.__setattr__`, so creating one takes three times as long. Type
checkers enforce that these never change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

C = TypeVar("C")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def immutable(cls: type[C]) -> type[C]:
    """Make a class a dataclass that is compared and hashed by its fields."""
    return dataclass(slots=True, unsafe_hash=True)(cls)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def noun(cls: type[C]) -> type[C]:
    """Make a class of resources such a dataclass; its fields are given by name."""
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)
