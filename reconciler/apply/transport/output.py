"""Read what probes print; what it means is each driver's.

A probe prints a fixed number of lines for each resource, in the order in which they were asked for, so that nothing a
host keeps in a file or a tag can pass for the answer about another resource.
"""

from __future__ import annotations

from reconciler.apply.transport.command import Result
from reconciler.errors import HostError


def text(host: str, result: Result) -> str:
    """Return what a probe printed; raises HostError with the host's own words if it failed."""
    if result.status != 0:
        words = result.output.strip() or f"a probe ended with status {result.status}"
        raise HostError(host, words)
    return result.output


def records(host: str, result: Result, *, count: int, width: int) -> list[tuple[str, ...]]:
    """Cut a probe's output into `count` records of `width` lines; raises HostError if it is not just that."""
    lines = text(host, result).split("\n")
    if lines.pop() or len(lines) != count * width:
        raise HostError(
            host,
            f"a probe printed {len(lines)} lines where {count * width} were expected",
            hint="a login script that prints something spoils probes: see what `ssh HOST true` prints",
        )
    return [tuple(lines[start : start + width]) for start in range(0, len(lines), width)]


def rows(host: str, result: Result, *, width: int) -> list[tuple[str, ...]]:
    """Cut a survey's output, of however many records, into records of `width` lines; raises HostError as `records`."""
    count = text(host, result).count("\n") // width
    return records(host, result, count=count, width=width)


def number(value: str, base: int = 10) -> int:
    """Read a number that a host printed; what is none counts as 0, so that it differs from any wanted value."""
    try:
        return int(value, base)
    except ValueError:
        return 0


def expect(host: str, condition: bool, what: str) -> None:
    """Raise HostError unless a probe's output has the form that its driver gave it."""
    if not condition:
        raise HostError(host, f"{what} printed something unexpected")
