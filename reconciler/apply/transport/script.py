"""Renders batches of commands as shell scripts and parses their output.

The script frames what commands print with a nonce that they cannot know:

    <nonce> open                    the operation lock is held, the tasks follow
    <nonce> fenced TOKEN NAME       a later holder of a lock has been here; nothing follows
    <nonce> owned                   the host belongs to another state; nothing follows
    <nonce> moved                   other batches have run since the facts were read; nothing follows
    <nonce> begin TASK              the task's commands start
    ...                             what one command printed (both streams)
    <nonce> result TASK N STATUS    its Nth command, from 0, ended with this exit status
    <nonce> skip TASK               a task that this one waits for has failed
    <nonce> end                     the script ran to its end

Only framed results count: a task without its last result is unknown, never done. A command's output goes to a file
first, so that no daemon that it starts keeps the batch open and no full pipe blocks it. The file is read back only if
its content is wanted, so that most commands cost one fork, as in a plain script. The result of a task is kept in `$p`
and printed with the start of the next one, which follows at once: that halves the packets.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from reconciler.apply.transport.batch import (
    CUT,
    OUTPUT_CAP,
    Batch,
    OperationLock,
    Task,
    TaskEnded,
    TaskStarted,
    TaskStatus,
    escape_controls,
    failure_message,
)
from reconciler.apply.transport.command import MASK, Command, Result
from reconciler.apply.transport.fence import render_fence

REFUSED: Final = 75
"""The script's exit status if it did nothing at all: EX_TEMPFAIL of sysexits.h."""

_STATUS: Final = re.compile("[0-9]{1,3}")

_SHORTEST_SECRET: Final = 4  # shorter lines of a secret, such as `---`, also occur in harmless output

_NAMES: Final = """\
. : [ alias bg break cd chdir command continue echo eval exec exit export false fg getopts hash jobs kill local printf
pwd read readonly return set shift test times trap true type ulimit umask unalias unset wait
reconcile refuse enter tell result
"""
_SHELL_OWN: Final = frozenset(_NAMES.split())
"""Names of shell builtins and of the script's own functions. A command of that name means the program."""


def render(batch: Batch, nonce: str) -> str:
    """Write a batch as a script; `nonce` is 128 random bits in hexadecimal, never used twice.

    To read back what a command prints costs a fork, so `failures_only` leaves out the output of those that succeed. The
    whole script is one function: one that is cut short by a lost connection does not parse, and does nothing.
    """
    opening = _OPENING.format(
        nonce=nonce,
        kept="[ $r = 1 ]" if batch.failures_only else ":",
        cap=batch.output_cap + 1,  # one byte over the cap shows the reader that something was cut
        **_lock_values(batch.lock),
    )
    body = "\n".join(_task(task) for task in batch.tasks)
    fenced = "" if batch.fence is None else render_fence(batch.fence, nonce)
    moved = "" if batch.since is None else _since(batch.lock, batch.since, nonce)
    return f"{opening}{fenced}{moved}{body}\ntell '{nonce} end'\nexit 0\n}}\nreconcile\n"


_OPENING: Final = """\
refuse() {{ printf '%s\\n' "$1"; exit 75; }}
enter() {{
t=$1; shift
for k; do [ "$k" = 0 ] || {{ tell "{nonce} skip $t"; return 1; }}; done
tell "{nonce} begin $t"
}}
tell() {{ printf '%s\\n' "$p$1"; p=; }}
result() {{
t=$1.$2 s=$3 r=1; shift 3
for k; do [ "$k" != "$s" ] || r=0; done
if {kept} && [ -s "$o/$t" ]; then printf %s "$p"; p=; head -c {cap} "$o/$t"; echo; : >"$o/$t"; fi
p="${{p}}{nonce} result ${{t%.*}} ${{t#*.}} $s
"
return $r
}}
reconcile() {{
exec 2>&1
p=
trap 'exit 129' HUP INT TERM PIPE
[ -d {folder} ] || mkdir -p -- {folder}
[ -e {path} ] || (umask 077; : >>{path})
command exec 9>>{path} || refuse 'cannot open the operation lock '{path}
flock {mode} -w {wait} 9 || refuse 'another operation on this host did not end within {wait} s (lock '{path}')'
o=$(mktemp -d 2>/dev/null) || refuse "cannot make a temporary folder in ${{TMPDIR:-/tmp}}: is there space left?"
trap 'rm -rf -- "$o"' EXIT
printf %8192s . 2>/dev/null >"$o/space" || refuse "no space left in ${{o%/*}}"
: >"$o/space"
{counted}printf '%s\\n' '{nonce} open'
"""

# A full disk must not stop what frees it; a file of another size tells as much as one byte more.
_COUNTED: Final = """\
printf . 2>/dev/null >&9 || : >{path}
"""

_SINCE: Final = """\
[ "$(stat -c %s -- {path})" = {size} ] ||
{{ printf '%s\\n' '{nonce} moved'; refuse 'other operations have run here meanwhile'; }}
"""


def _lock_values(lock: OperationLock) -> dict[str, str | int]:
    folder = lock.path.rpartition("/")[0] or "/"
    mode = "-s" if lock.shared else "-x"
    path = shlex.quote(lock.path)
    counted = "" if lock.shared else _COUNTED.format(path=path)
    return {"folder": shlex.quote(folder), "path": path, "mode": mode, "wait": lock.wait, "counted": counted}


def _since(lock: OperationLock, count: int, nonce: str) -> str:
    """Write the lines that refuse the batch unless it is the next one after so many."""
    return _SINCE.format(path=shlex.quote(lock.path), size=count + 1, nonce=nonce)


def _task(task: Task) -> str:
    """Write a task; `kN` is 0 once task N is done, which later tasks check."""
    waits = "".join(f" $k{number}" for number in task.waits)
    chain = [f"enter {task.number}{waits}"]
    chain += [f"{{ {_command(task.number, at, command)}; }}" for at, command in enumerate(task.commands)]
    return f"k{task.number}=1\n" + " &&\n".join([*chain, f"k{task.number}=0"])


def _command(task: int, at: int, command: Command) -> str:
    """Write one command: its own stdin, output to a file, and no descriptor that a daemon could keep.

    printf is a shell builtin, so the stdin is in no process's arguments.
    """
    argv = ("env", "--", *command.argv) if command.argv[0] in _SHELL_OWN else command.argv
    line = " ".join(_quote(word) for word in argv)
    accepted = " ".join(str(status) for status in command.ok)
    redirection = f'>"$o/{task}.{at}" 2>&1 9>&-\nresult {task} {at} $? {accepted}'
    if command.stdin is None:
        return f"{line} </dev/null {redirection}"
    return f"printf %s {_quote(command.stdin)} 2>/dev/null 9>&- | {line} {redirection}"


def _quote(word: str) -> str:
    if "\0" in word:
        msg = "a NUL byte cannot be passed to a program"
        raise ValueError(msg)
    return shlex.quote(word)


@dataclass(slots=True)
class Transcript:
    """Parses a batch's output line by line, and keeps what is known of each task."""

    tasks: Sequence[Task]
    nonce: str
    output_cap: int = OUTPUT_CAP
    opened: bool = False
    complete: bool = False
    fenced: tuple[int, str] | None = None
    owned: bool = False
    moved: bool = False
    _missing: dict[int, Task] = field(init=False)
    _current: Task | None = None
    _results: list[Result] = field(default_factory=list)
    _lines: list[str] = field(default_factory=list)
    _size: int = 0

    def __post_init__(self) -> None:
        self._missing = {task.number: task for task in self.tasks}

    @property
    def missing(self) -> tuple[int, ...]:
        """The tasks without an end."""
        return tuple(self._missing)

    @property
    def stray(self) -> str:
        """What was printed since the last frame, such as the error of a shell that could not start."""
        return self._text()

    def feed(self, line: str) -> tuple[TaskStarted | TaskEnded, ...]:
        """Parse one line, without its newline, and return its events."""
        return tuple(self._read(line))

    def _read(self, line: str) -> Iterator[TaskStarted | TaskEnded]:
        match line.split(" ") if line.startswith(f"{self.nonce} ") else ():
            case [_, "open"] if not self.opened:
                self.opened = True
                self._forget()
            case [_, "fenced", token, name] if self.opened and self._current is None and token.isdecimal():
                self.fenced = int(token), name
            case [_, "owned"] if self.opened and self._current is None:
                self.owned = True
            case [_, "moved"] if self.opened and self._current is None:
                self.moved = True
            case [_, "begin", number] if self._can_begin(number):
                yield from self._begin(self._missing[int(number)])
            case [_, "result", number, at, status] if self._expects(number, at) and _STATUS.fullmatch(status):
                yield from self._result(int(status))
            case [_, "skip", number] if self._can_begin(number):
                del self._missing[int(number)]
                yield TaskEnded(int(number), TaskStatus.SKIPPED)
            case [_, "end"] if self._current is None:
                self.complete = True
            case _:
                self._keep(line)

    def _can_begin(self, number: str) -> bool:
        return self.opened and self._current is None and number in map(str, self._missing)

    def _expects(self, number: str, at: str) -> bool:
        return self._current is not None and (number, at) == (str(self._current.number), str(len(self._results)))

    def _begin(self, task: Task) -> Iterator[TaskStarted | TaskEnded]:
        self._current = task
        self._forget()
        yield TaskStarted(task.number)
        if not task.commands:
            yield self._end(TaskStatus.DONE)

    def _result(self, status: int) -> Iterator[TaskEnded]:
        task = self._current
        assert task is not None, "a result is only expected of a task that began"  # noqa: S101 - held by _expects
        command = task.commands[len(self._results)]
        self._results.append(Result(status, _shown(self._text(), command, self.output_cap)))
        self._forget()
        if status not in command.ok:
            yield self._end(TaskStatus.FAILED, failure_message(command, self._results[-1]))
        elif len(self._results) == len(task.commands):
            yield self._end(TaskStatus.DONE)

    def _end(self, status: TaskStatus, message: str = "") -> TaskEnded:
        task = self._current
        assert task is not None, "only a task that began can end"  # noqa: S101 - both callers set or found it
        ended = TaskEnded(task.number, status, tuple(self._results), message)
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


def _shown(text: str, command: Command, cap: int) -> str:
    shown = escape_controls(text)
    if len(text.encode(errors="surrogateescape")) > cap:
        shown = escape_controls(text.encode(errors="surrogateescape")[:cap].decode(errors="replace")) + CUT
    if not command.secret:
        return shown
    for line in escape_controls(command.stdin or "").splitlines():
        if len(line.strip()) >= _SHORTEST_SECRET:
            shown = shown.replace(line.strip(), MASK)
    return shown
