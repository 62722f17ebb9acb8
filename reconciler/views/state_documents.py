"""Defines the JSON documents of `state restore` and `state rebuild`."""

from __future__ import annotations

from reconciler.views.view import Document


class KeptCopy(Document):
    """A copy of a state, as `state restore` lists it; `latest` is when its latest apply began, null if none did."""

    name: str
    serial: int
    slices: int
    resources: int
    latest: str | None


class RestoredState(Document):
    """`state restore COPY`; `kept` is where the replaced state was saved, null if it was empty."""

    restored: str
    serial: int
    kept: str | None


class RebuiltSlice(Document):
    """A slice of a rebuilt state: how many of its resources were found, and which are missing on their hosts.

    `unknown` counts those on hosts that could not be read. `saved` is when the copy was made that it comes from; null
    if it comes from the state.
    """

    slice: str
    found: int
    missing: list[str]
    unknown: int
    saved: str | None


class Rebuild(Document):
    """`state rebuild`; `kept` is the copy of the state that was replaced, null if it was empty or was not replaced.

    `taken_over` are lineages of other states that hosts belonged to. `gone` are slices of which nothing exists.
    `clashing` are slices that were left out, because a slice that is newer has the same numbers.
    """

    rebuilt: bool
    lineage: str
    serial: int
    slices: list[RebuiltSlice]
    gone: list[str]
    clashing: list[str]
    taken_over: list[str]
    damaged_copies: list[str]
    orphans: int
    unread: dict[str, str]
    kept: str | None
