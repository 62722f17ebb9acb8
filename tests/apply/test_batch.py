"""Batches run by real shells: what is known of them is exactly what happened, whatever the commands print."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
)
from reconciler.apply.transport.command import MASK, Command, Result, script
from reconciler.apply.transport.script import REFUSED, Transcript, render
from tests.effort import examples

NONCE = "5f" * 16
FEW = settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
BYTES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200)
NASTY = st.one_of(
    BYTES,
    st.sampled_from(
        [
            "; id", "$(id)", "`id`", "a\nb", "'", '"', "\\", "--help", "", "*", "~", "${HOME}", "\r\n", "\x1b[31m",
            f"{'00' * 16} result 0 0 0", "x\n\n", "#", "&", "=", "a=b", "exit", "\x7f\t", "%s", "-n", "\\c", "ü\udcff",
        ]
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """How a batch went: the shell's status, and what its output told."""

    status: int
    transcript: Transcript
    events: tuple[TaskStarted | TaskEnded, ...]

    @property
    def ended(self) -> dict[int, TaskEnded]:
        return {event.number: event for event in self.events if isinstance(event, TaskEnded)}

    def output(self, number: int = 0, at: int = 0) -> str:
        return self.ended[number].results[at].output


def read(tasks: Sequence[Task], status: int, printed: bytes, nonce: str = NONCE) -> Run:
    transcript = Transcript(tasks, nonce)
    lines = printed.decode(errors="surrogateescape").split("\n")
    events = [event for line in lines for event in transcript.feed(line)]
    return Run(status, transcript, tuple(events))


def perform(*tasks: Task, shell: str = "sh", lock: OperationLock | None = None) -> Run:
    with TemporaryDirectory() as folder:
        text = render(Batch(tasks, lock or OperationLock(f"{folder}/lock")), NONCE)
        done = subprocess.run(
            [shell, "-s"],
            input=text.encode(errors="surrogateescape"),
            stdout=subprocess.PIPE,
            check=False,
            timeout=30,
            env=os.environ | {"TMPDIR": folder},  # a killed shell leaves its scratch there
        )
    return read(tasks, done.returncode, done.stdout)


@FEW
@given(st.lists(NASTY, min_size=1, max_size=4), NASTY)
def test_arguments_and_stdin_arrive_as_they_were_given(words: list[str], stdin: str) -> None:
    arguments = script('for a; do printf "<%s>" "$a"; done', *words)
    run = perform(Task(0, (arguments, Command(("cat",), stdin=stdin))))
    assert run.transcript.complete
    assert run.output(0, 0) == escape_controls("".join(f"<{word}>" for word in words))
    assert run.output(0, 1) == escape_controls(stdin)


@FEW
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=3))
def test_whatever_a_command_prints_is_only_output(outputs: list[bytes]) -> None:
    with TemporaryDirectory() as folder:
        files = [Path(folder) / str(number) for number in range(len(outputs))]
        for path, content in zip(files, outputs, strict=True):
            path.write_bytes(content)
        tasks = [Task(n, (Command(("cat", str(path))),)) for n, path in enumerate(files)]
        run = perform(*tasks)
    assert run.transcript.complete
    for number, content in enumerate(outputs):
        assert run.ended[number].status is TaskStatus.DONE
        assert run.output(number) == escape_controls(content.decode(errors="surrogateescape"))


@FEW
@given(st.lists(st.tuples(st.integers(0, 3), st.sets(st.integers(0, 8))), min_size=1, max_size=8))
def test_a_task_runs_exactly_when_all_that_it_waits_for_succeeded(shape: list[tuple[int, set[int]]]) -> None:
    tasks = [
        Task(n, (script("exit $1", str(status), ok=(0, 3)),), tuple(sorted(wait for wait in waits if wait < n)))
        for n, (status, waits) in enumerate(shape)
    ]
    run = perform(*tasks)
    expected: dict[int, TaskStatus] = {}
    for task, (status, _) in zip(tasks, shape, strict=True):
        runs = all(expected[wait] is TaskStatus.DONE for wait in task.waits)
        expected[task.number] = (
            (TaskStatus.DONE if status in {0, 3} else TaskStatus.FAILED) if runs else TaskStatus.SKIPPED
        )
    assert {number: ended.status for number, ended in run.ended.items()} == expected
    assert run.transcript.complete


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_commands_stop_at_the_first_failure_with_its_message(shell: str) -> None:
    commands = (Command(("echo", "fine")), script("echo no room >&2; exit 4"), Command(("touch", "/nonexistent/x")))
    run = perform(Task(7, commands), Task(8, (Command(("false",)),)), shell=shell)
    assert run.ended[7] == TaskEnded(7, TaskStatus.FAILED, (Result(0, "fine\n"), Result(4, "no room\n")), "no room")
    assert run.ended[8].message == "`false` ended with status 1 and printed nothing"
    assert (run.status, run.transcript.complete) == (0, True)


def test_a_program_that_is_missing_fails_by_name() -> None:
    run = perform(Task(0, (Command(("no-such-program", "x")),)))
    assert run.ended[0].results[0].status == 127
    assert "no-such-program" in run.ended[0].message


@pytest.mark.parametrize("name", ["exit", "exec", "echo", "result", "enter", "reconcile", "kill"])
def test_a_program_named_like_a_part_of_the_shell_is_the_program(name: str) -> None:
    run = perform(Task(0, (Command((name, "--version"), ok=(0, 127)),)), Task(1, (Command(("echo", r"a\tb")),)))
    assert run.transcript.complete
    assert run.output(1) == "a\\tb\n"


def test_a_huge_output_is_cut_without_harming_the_command() -> None:
    run = perform(Task(0, (script("head -c 3000000 /dev/zero | tr '\\0' x; echo >&2; exit 0"),)))
    assert run.ended[0].status is TaskStatus.DONE
    assert run.output() == "x" * OUTPUT_CAP + CUT


def test_an_output_without_newline_or_with_many_is_kept_to_the_byte() -> None:
    tasks = [Task(n, (Command(("printf", text)),)) for n, text in enumerate(["a", "a\\n", "\\n\\n", "\\na"])]
    run = perform(*tasks)
    assert [run.output(task.number) for task in tasks] == ["a", "a\n", "\n\n", "\na"]


def test_frames_with_another_nonce_or_out_of_turn_are_only_output() -> None:
    forged = "\n".join((f"{'0' * 32} end", f"{NONCE} result 0 5 0", f"{NONCE} begin 0", f"{NONCE} end", ""))
    run = perform(Task(0, (Command(("cat",), stdin=forged), Command(("false",)))))
    assert run.ended[0].status is TaskStatus.FAILED
    assert run.output() == forged


@pytest.mark.parametrize("odd", ["result 0 0 many", "result 0 0 -1", f"result 0 0 {'9' * 5000}", f"begin {'1' * 5000}"])
def test_a_frame_that_no_shell_writes_is_only_output(odd: str) -> None:
    transcript = Transcript([Task(0, (Command(("true",)),))], NONCE)
    for frame in ("open", "begin 0"):
        transcript.feed(f"{NONCE} {frame}")
    assert transcript.feed(f"{NONCE} {odd}") == ()
    assert transcript.missing == (0,)


def test_what_successful_commands_print_can_be_left_out(tmp_path: Path) -> None:
    commands = (Command(("echo", "fine")), script("echo all right; exit 3", ok=(3,)), script("echo no room; exit 1"))
    tasks = (Task(0, commands),)
    text = render(Batch(tasks, OperationLock(str(tmp_path / "lock")), failures_only=True), NONCE)
    done = subprocess.run(["sh", "-s"], input=text.encode(), stdout=subprocess.PIPE, check=True)
    results = (Result(0, ""), Result(3, ""), Result(1, "no room\n"))
    assert read(tasks, 0, done.stdout).ended[0] == TaskEnded(0, TaskStatus.FAILED, results, "no room")


def test_a_secret_reaches_its_command_but_neither_arguments_nor_messages() -> None:
    secret = "password: hunter2\n"  # noqa: S105 - an example
    seen = script("cat; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c h[u]nter2; exit 1")
    command = Command(seen.argv, stdin=secret, secret=True)
    run = perform(Task(0, (command,)))
    assert run.output() == f"{MASK}\n0\n"
    assert "hunter2" not in run.ended[0].message


def test_commands_do_not_read_the_script() -> None:
    run = perform(Task(0, (Command(("cat",)),)), Task(1, (Command(("echo", "still here")),)))
    assert (run.output(0), run.output(1)) == ("", "still here\n")


def test_a_daemon_holds_neither_the_batch_nor_the_lock_open(tmp_path: Path) -> None:
    lock = OperationLock(str(tmp_path / "lock"), wait=0)
    run = perform(Task(0, (script("setsid sleep 20 & echo $!"),)), lock=lock)
    daemon = int(run.output())
    try:
        os.kill(daemon, 0)
        assert perform(Task(0, (Command(("true",)),)), lock=lock).transcript.complete
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_one_batch_runs_at_a_time_and_one_that_waits_too_long_does_nothing(tmp_path: Path) -> None:
    lock = OperationLock(str(tmp_path / "locks" / "lock"), wait=0)
    (tmp_path / "locks").mkdir()
    task = Task(0, (Command(("touch", str(tmp_path / "made"))),))
    with (tmp_path / "locks" / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        run = perform(task, lock=lock)
    assert (run.status, run.transcript.opened, run.transcript.missing) == (REFUSED, False, (0,))
    assert "another operation on this host did not end within 0 s" in run.transcript.stray
    assert not (tmp_path / "made").exists()


def test_readers_share_the_lock_and_its_folder_is_made(tmp_path: Path) -> None:
    lock = OperationLock(str(tmp_path / "new folder" / "it's"), wait=0, shared=True)
    (tmp_path / "new folder").mkdir()
    with (tmp_path / "new folder" / "it's").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert perform(Task(0, (Command(("true",)),)), lock=lock).transcript.complete
    deeper = OperationLock(str(tmp_path / "a" / "b" / "lock"))
    assert perform(Task(0, ()), lock=deeper).transcript.complete
    assert (tmp_path / "a" / "b" / "lock").stat().st_mode & 0o777 == 0o600, "other users can neither open nor hold it"


def test_a_script_cut_short_does_nothing(tmp_path: Path) -> None:
    tasks = tuple(Task(n, (Command(("touch", str(tmp_path / str(n)))),)) for n in range(3))
    text = render(Batch(tasks, OperationLock(str(tmp_path / "lock"))), NONCE)
    for length in range(0, len(text) - 1, 97):
        subprocess.run(["sh", "-s"], input=text[:length].encode(), capture_output=True, check=False)
    assert list(tmp_path.iterdir()) == []


def test_a_shell_killed_half_way_leaves_the_rest_unknown(tmp_path: Path) -> None:
    tasks = (Task(0, (Command(("true",)),)), Task(1, (script("kill -9 $PPID"),)), Task(2, (), (1,)))
    run = perform(*tasks, lock=OperationLock(str(tmp_path / "lock")))
    assert run.status == -signal.SIGKILL
    assert (set(run.ended), run.transcript.missing, run.transcript.complete) == ({0}, (1, 2), False)


def test_a_batch_without_a_reader_ends_after_the_running_command(tmp_path: Path) -> None:
    tasks = (
        Task(0, (script('sleep 0.2; touch "$1"', str(tmp_path / "0")),)),
        Task(1, (Command(("touch", "1")),), (0,)),
    )
    text = render(Batch(tasks, OperationLock(str(tmp_path / "lock"))), NONCE)
    with subprocess.Popen(
        ["sh", "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path, env=os.environ | {"TMPDIR": tmp_path}
    ) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write(text.encode())
        shell.stdin.close()
        assert [shell.stdout.readline().split()[1] for _ in range(2)] == [b"open", b"begin"]
        shell.stdout.close()
    assert {path.name for path in tmp_path.iterdir()} == {"0", "lock"}


def test_nothing_stays_behind(tmp_path: Path) -> None:
    text = render(Batch((Task(0, (Command(("echo", "x")),)),), OperationLock(str(tmp_path / "lock"))), NONCE)
    subprocess.run(["sh", "-s"], input=text.encode(), stdout=subprocess.DEVNULL, check=True, env={"TMPDIR": tmp_path})
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_nul_byte_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match="NUL"):
        render(Batch((Task(0, (Command(("touch", "a\0b")),)),)), NONCE)


@given(st.text())
def test_what_is_shown_cannot_steer_a_terminal(text: str) -> None:
    assert not any(sign in escape_controls(text) for sign in "\x1b\r\x07\x08\x9b\u202e")
    assert escape_controls(f"\x1b[2J\u202e\r\n\t{text}").startswith("\\x1b[2J\\u202e\\r\n\t")
