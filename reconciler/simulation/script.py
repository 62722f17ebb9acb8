"""Reads back the scripts that batch.py writes, command by command; performing them is the model hosts' part.

Before the first task stand the lock and whatever else guards a batch: lines there that are not known are left out. Once
tasks have begun, a line that is not known is an error: a model that skips what it does not understand proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_OPEN: Final = re.compile(r"printf '%s\\n' '([0-9a-f]+) open'")
_LOCK: Final = re.compile(r"flock -([sx]) ")
_TASK: Final = re.compile(r"k(\d+)=1")
_ENTER: Final = re.compile(r"enter (\d+)((?: \$k\d+)*)(?: &&)?")
_COMMAND: Final = re.compile(r'\{ (.*) </dev/null >"\$o/(\d+)\.(\d+)" 2>&1 9>&-')
_RESULT: Final = re.compile(r"result (\d+) (\d+) \$\?((?: \d+)+); \} &&")
_DONE: Final = re.compile(r"k(\d+)=0")
_WORD: Final = re.compile(r"'([^']*)'|\"([^\"]*)\"|([^\s'\"]+)|(\s+)")


@dataclass(frozen=True, slots=True)
class Call:
    """One command of a task, and the exit statuses that count as success."""

    argv: tuple[str, ...]
    ok: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SimulatedTask:
    """One task of a script: its number, the tasks it waits for, and its commands."""

    number: int
    waits: frozenset[int]
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """What a host is asked to do; `shared` scripts only read."""

    nonce: str
    shared: bool
    errands: tuple[SimulatedTask, ...]

    @property
    def size(self) -> int:
        """How many commands there are."""
        return sum(len(errand.calls) for errand in self.errands)


def read_script(text: str) -> Script:
    """Read a script; raises ValueError where something in it is not known."""
    lines = iter(text.split("\n"))
    nonce, shared = "", False
    for line in lines:
        if found := _LOCK.match(line):
            shared = found[1] == "s"
        if found := _OPEN.fullmatch(line):
            nonce = found[1]
            break
    else:
        raise ValueError("the script is never open for work")
    return Script(nonce, shared, tuple(_errands(lines, nonce)))


def _errands(lines: Iterator[str], nonce: str) -> Iterator[SimulatedTask]:
    begun = False
    for line in lines:
        if found := _TASK.fullmatch(line):
            begun = True
            yield _errand(int(found[1]), lines)
        elif line == f"printf '%s\\n' '{nonce} end'":
            return
        elif begun:
            raise ValueError(f"a line between tasks is not known: {line}")
    raise ValueError("the script has no end")


def _errand(number: int, lines: Iterator[str]) -> SimulatedTask:
    found = _ENTER.fullmatch(next(lines))
    if found is None or int(found[1]) != number:
        raise ValueError(f"task {number} is never entered")
    waits = frozenset(int(name) for name in re.findall(r"\d+", found[2]))
    calls: list[Call] = []
    for line in lines:
        if (done := _DONE.fullmatch(line)) and int(done[1]) == number:
            return SimulatedTask(number, waits, tuple(calls))
        command, result = _COMMAND.fullmatch(line), _RESULT.fullmatch(next(lines, ""))
        here = (str(number), str(len(calls)))
        if not command or not result or command.groups()[1:] != here or result.groups()[:2] != here:
            raise ValueError(f"a line of task {number} is not known: {line}")
        calls.append(Call(_words(command[1]), tuple(int(status) for status in result[3].split())))
    raise ValueError(f"task {number} has no end")


@lru_cache(maxsize=2**14)  # the same few resources come up at every stop
def _words(line: str) -> tuple[str, ...]:
    """Split a command line as a shell would: words as `shlex.quote` writes them, and no expansion."""
    words, current, place = [], "", 0
    while place < len(line):
        found = _WORD.match(line, place)
        if found is None:
            raise ValueError(f"a command line is not known: {line}")
        place = found.end()
        if found[4] is None:
            current += found[1] or found[2] or found[3] or ""
        else:
            words.append(current)
            current = ""
    return (*words, current)
