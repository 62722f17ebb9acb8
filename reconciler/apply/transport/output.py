"""Splits the output of probes into records.

A probe prints a fixed number of lines for each resource, in the order in which they were passed, so that nothing that a
host has in a file or a tag can be taken for output about another resource.
"""

from __future__ import annotations

from reconciler.apply.transport.command import Result
from reconciler.errors import HostError


def text(host: str, result: Result) -> str:
    """Return what a probe printed; raises HostError with its output if it failed."""
    if result.status != 0:
        raise HostError(host, result.output.strip() or f"a probe ended with status {result.status}")
    return result.output


def records(host: str, result: Result, *, count: int, width: int) -> list[tuple[str, ...]]:
    """Split a probe's output into `count` records of `width` lines; raises HostError if it is anything else."""
    lines = text(host, result).split("\n")
    if lines.pop() or len(lines) != count * width:
        raise HostError(
            host,
            f"a probe printed {len(lines)} lines where {count * width} were expected",
            hint="a login script that prints something breaks probes: `ssh HOST true` must print nothing",
        )
    return [tuple(lines[start : start + width]) for start in range(0, len(lines), width)]


def rows(host: str, result: Result, *, width: int) -> list[tuple[str, ...]]:
    """Split a survey's output into any number of records of `width` lines; raises HostError as `records` does."""
    count = text(host, result).count("\n") // width
    return records(host, result, count=count, width=width)


def number(value: str, base: int = 10) -> int:
    """Parse a number that a host printed; anything else counts as 0, which differs from every desired value."""
    try:
        return int(value, base)
    except ValueError:
        return 0


def expect(host: str, condition: bool, what: str) -> None:
    """Raise HostError unless a probe's output has the format that its driver defined."""
    if not condition:
        raise HostError(host, f"{what} printed unexpected output")
