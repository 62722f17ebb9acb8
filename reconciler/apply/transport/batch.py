"""Many commands as one shell script for one host, and what its output says; pure: sending it is the executor's.

The script frames what commands print with a nonce that they cannot know:

    <nonce> open                    the operation lock is held, work begins
    <nonce> fenced TOKEN NAME       a later holder of a lock has been here (fence.py); nothing follows
    <nonce> begin TASK              the task's commands start
    ...                             what one command printed (both streams)
    <nonce> result TASK N STATUS    its Nth command, from 0, ended with this exit status
    <nonce> skip TASK               something that the task waits for has failed
    <nonce> end                     the script ran to its end

Only what was framed is known: a task without its last result is unknown, never done. A command's output goes to a file
first, so that neither a daemon it leaves behind can hold the batch open nor a full pipe can hold it up; a file is read
back only where something of interest was printed, so that most commands cost one fork, as in a plain script.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from reconciler.apply.transport.command import MASK, Command, Result
from reconciler.apply.transport.fence import Fence, render_fence
from reconciler.plan.resources import ROOT

OUTPUT_CAP: Final = 64 * 1024
"""What is kept of one command's output, in bytes; the rest is dropped on the host."""

REFUSED: Final = 75
"""The script's exit status when it did nothing at all: EX_TEMPFAIL of sysexits.h."""

_STATUS: Final = re.compile("[0-9]{1,3}")

_SHORTEST_SECRET: Final = 4  # shorter lines of a secret, such as `---`, stand in harmless output as well

_NAMES: Final = """\
. : [ alias bg break cd chdir command continue echo eval exec exit export false fg getopts hash jobs kill local printf
pwd read readonly return set shift test times trap true type ulimit umask unalias unset wait
reconcile refuse enter result
"""
_SHELL_OWN: Final = frozenset(_NAMES.split())
"""Names that a POSIX shell, or the script, would take for its own; the program of that name is meant."""


@dataclass(frozen=True, slots=True)
class Task:
    """Commands to run one after the other up to the first failure; skipped unless all of `waits` succeeded.

    `waits` are numbers of tasks that stand earlier in the same batch.
    """

    number: int
    commands: tuple[Command, ...]
    waits: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class OperationLock:
    """The lock on the host that one batch at a time holds; `shared` lets readers in together.

    It outlives a lost connection: who comes back waits at most `wait` seconds for what still runs there.
    """

    path: str = f"{ROOT}/lock"
    wait: int = 60
    shared: bool = False


class TaskStatus(StrEnum):
    """How a task ended, as the host said it."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Begun:
    """A task's commands have started."""

    number: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A task has ended; `results` has one entry for each command that ran, `words` say why it failed."""

    number: int
    status: TaskStatus
    results: tuple[Result, ...] = ()
    words: str = ""


def render(
    tasks: Sequence[Task],
    *,
    nonce: str,
    lock: OperationLock | None = None,
    fence: Fence | None = None,
    output_cap: int = OUTPUT_CAP,
    failures_only: bool = False,
) -> str:
    """Write the script; `nonce` is 128 random bits in hexadecimal, never used twice.

    With a `fence`, the lock must be exclusive, and nothing is done on a host that has seen a later holder.
    `failures_only` leaves out what successful commands print: to read it back costs a fork each. All of the script is
    one function, so that one cut short by a lost connection does not parse and does nothing.
    """
    opening = _OPENING.format(
        nonce=nonce,
        kept="[ $r = 1 ]" if failures_only else ":",
        cap=output_cap + 1,  # one byte over the cap tells the reader that something was cut
        **_lock_words(lock or OperationLock()),
    )
    body = "\n".join(_task(task) for task in tasks)
    fenced = "" if fence is None else render_fence(fence, nonce)
    return f"{opening}{fenced}{body}\nprintf '%s\\n' '{nonce} end'\nexit 0\n}}\nreconcile\n"


_OPENING: Final = """\
refuse() {{ printf '%s\\n' "$1"; exit 75; }}
enter() {{
t=$1; shift
for k; do [ "$k" = 0 ] || {{ printf '%s\\n' "{nonce} skip $t"; return 1; }}; done
printf '%s\\n' "{nonce} begin $t"
}}
result() {{
t=$1.$2 s=$3 r=1; shift 3
for k; do [ "$k" != "$s" ] || r=0; done
if {kept} && [ -s "$o/$t" ]; then head -c {cap} "$o/$t"; echo; : >"$o/$t"; fi
printf '%s\n' "{nonce} result ${{t%.*}} ${{t#*.}} $s"
return $r
}}
reconcile() {{
exec 2>&1
trap 'exit 129' HUP INT TERM PIPE
[ -d {folder} ] || mkdir -p -- {folder}
command exec 9>>{path} || refuse 'cannot open the operation lock '{path}
flock {mode} -w {wait} 9 || refuse 'another operation on this host did not end within {wait} s (lock '{path}')'
o=$(mktemp -d) || refuse 'cannot make a temporary folder'
trap 'rm -rf -- "$o"' EXIT
printf '%s\\n' '{nonce} open'
"""


def _lock_words(lock: OperationLock) -> dict[str, str | int]:
    folder = lock.path.rpartition("/")[0] or "/"
    mode = "-s" if lock.shared else "-x"
    return {"folder": shlex.quote(folder), "path": shlex.quote(lock.path), "mode": mode, "wait": lock.wait}


def _task(task: Task) -> str:
    """Write a task; `kN` is 0 once task N is done, so that later tasks can ask."""
    waits = "".join(f" $k{number}" for number in task.waits)
    chain = [f"enter {task.number}{waits}"]
    chain += [f"{{ {_command(task.number, at, command)}; }}" for at, command in enumerate(task.commands)]
    return f"k{task.number}=1\n" + " &&\n".join([*chain, f"k{task.number}=0"])


def _command(task: int, at: int, command: Command) -> str:
    """Write one command: its own stdin, output to a file, and no descriptor that a daemon could keep.

    printf is the shell's own, so that what it feeds to the command is in no process's arguments.
    """
    argv = ("env", "--", *command.argv) if command.argv[0] in _SHELL_OWN else command.argv
    line = " ".join(_quote(word) for word in argv)
    accepted = " ".join(str(status) for status in command.ok)
    ending = f'>"$o/{task}.{at}" 2>&1 9>&-\nresult {task} {at} $? {accepted}'
    if command.stdin is None:
        return f"{line} </dev/null {ending}"
    return f"printf %s {_quote(command.stdin)} 2>/dev/null 9>&- | {line} {ending}"


def _quote(word: str) -> str:
    if "\0" in word:
        msg = "a NUL byte cannot be passed to a program"
        raise ValueError(msg)
    return shlex.quote(word)


@dataclass(slots=True)
class Transcript:
    """Reads a batch's output line by line, and keeps what is known of each task."""

    tasks: Sequence[Task]
    nonce: str
    output_cap: int = OUTPUT_CAP
    opened: bool = False
    complete: bool = False
    fenced: tuple[int, str] | None = None
    _missing: dict[int, Task] = field(init=False)
    _current: Task | None = None
    _results: list[Result] = field(default_factory=list)
    _lines: list[str] = field(default_factory=list)
    _size: int = 0

    def __post_init__(self) -> None:
        self._missing = {task.number: task for task in self.tasks}

    @property
    def missing(self) -> tuple[int, ...]:
        """The tasks of which no ending was seen."""
        return tuple(self._missing)

    @property
    def stray(self) -> str:
        """What was printed since the last frame: a shell that could not start says here why."""
        return self._text()

    def feed(self, line: str) -> tuple[Begun | Ended, ...]:
        """Take one line, without its newline, and return what it tells."""
        return tuple(self._read(line))

    def presume(self) -> Iterator[Begun | Ended]:
        """End every task at once, where there is no command to run and so nothing to hear."""
        for task in self.tasks:
            yield from self._begin(task)
        self.complete = True

    def _read(self, line: str) -> Iterator[Begun | Ended]:
        match line.split(" ") if line.startswith(f"{self.nonce} ") else ():
            case [_, "open"] if not self.opened:
                self.opened = True
                self._forget()
            case [_, "fenced", token, name] if self.opened and self._current is None and token.isdecimal():
                self.fenced = int(token), name
            case [_, "begin", number] if self._can_begin(number):
                yield from self._begin(self._missing[int(number)])
            case [_, "result", number, at, status] if self._expects(number, at) and _STATUS.fullmatch(status):
                yield from self._result(int(status))
            case [_, "skip", number] if self._can_begin(number):
                del self._missing[int(number)]
                yield Ended(int(number), TaskStatus.SKIPPED)
            case [_, "end"] if self._current is None:
                self.complete = True
            case _:
                self._keep(line)

    def _can_begin(self, number: str) -> bool:
        return self.opened and self._current is None and number in map(str, self._missing)

    def _expects(self, number: str, at: str) -> bool:
        return self._current is not None and (number, at) == (str(self._current.number), str(len(self._results)))

    def _begin(self, task: Task) -> Iterator[Begun | Ended]:
        self._current = task
        self._forget()
        yield Begun(task.number)
        if not task.commands:
            yield self._end(TaskStatus.DONE)

    def _result(self, status: int) -> Iterator[Ended]:
        task = self._current
        assert task is not None, "a result is only expected of a task that began"  # noqa: S101 - held by _expects
        command = task.commands[len(self._results)]
        self._results.append(Result(status, _shown(self._text(), command, self.output_cap)))
        self._forget()
        if status not in command.ok:
            yield self._end(TaskStatus.FAILED, _words(command, self._results[-1]))
        elif len(self._results) == len(task.commands):
            yield self._end(TaskStatus.DONE)

    def _end(self, status: TaskStatus, words: str = "") -> Ended:
        task = self._current
        assert task is not None, "only a task that began can end"  # noqa: S101 - both callers set or found it
        ended = Ended(task.number, status, tuple(self._results), words)
        del self._missing[task.number]
        self._current = None
        self._results.clear()
        return ended

    def _keep(self, line: str) -> None:
        if self._size <= self.output_cap:
            self._lines.append(line)
            self._size += len(line) + 1

    def _forget(self) -> None:
        self._lines.clear()
        self._size = 0

    def _text(self) -> str:
        """Return what was printed, to the byte: the script adds one newline after a command's output."""
        return "\n".join(self._lines)


CUT: Final = "\n[the rest was cut]"
"""What the output of a command ends with when it printed more than is kept."""


def _shown(text: str, command: Command, cap: int) -> str:
    shown = escape(text)
    if len(text.encode(errors="surrogateescape")) > cap:
        shown = escape(text.encode(errors="surrogateescape")[:cap].decode(errors="replace")) + CUT
    if not command.secret:
        return shown
    for line in escape(command.stdin or "").splitlines():
        if len(line.strip()) >= _SHORTEST_SECRET:
            shown = shown.replace(line.strip(), MASK)
    return shown


_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escape(text: str) -> str:
    r"""Write what could steer a terminal as `\xNN` or `\uNNNN`: controls except newline and tab, and bidi marks."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def _words(command: Command, result: Result) -> str:
    """Say why a command failed: the host's own words, or its status where it said nothing."""
    said = result.output.strip()
    return said or f"`{escape(str(command))}` ended with status {result.status} and said nothing"
