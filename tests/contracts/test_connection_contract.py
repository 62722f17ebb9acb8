"""What every connection to a host must do; held by SSH and by the folders that other tests use as hosts."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from reconciler.apply.transport.connection import Connection
from reconciler.apply.transport.shell import Shell
from reconciler.errors import HostError, HostUnreachable
from tests.apply.localhost import Localhosts
from tests.apply.sshd import HOST, running


class ShellConnection(Connection, Shell, Protocol):
    """A connection that runs batches in a shell."""


@pytest.fixture(params=["ssh", "sudo", "folder"])
async def connection(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ShellConnection]:
    if request.param == "folder":
        hosts = Localhosts(tmp_path)
        yield await hosts.connect(HOST)
        await hosts.close()
        return
    async with running(tmp_path) as sshd:
        connector = sshd.connector(sudo=request.param == "sudo")
        yield await connector.connect(HOST)
        await connector.close()


async def lines(connection: ShellConnection, text: str) -> list[str]:
    return [line async for line in connection.run_script(text)]


async def test_it_knows_its_host(connection: ShellConnection) -> None:
    assert connection.host == HOST


async def test_both_streams_come_line_by_line(connection: ShellConnection) -> None:
    assert await lines(connection, "echo one; echo two >&2; echo; printf '\\tthree'") == ["one", "two", "", "\tthree"]


async def test_bytes_that_are_no_text_survive(connection: ShellConnection) -> None:
    (line,) = await lines(connection, r"printf 'a\377\000b\rc\033\n'")
    assert line.encode(errors="surrogateescape") == b"a\xff\0b\rc\x1b"


async def test_a_script_may_be_long_and_hold_any_byte(connection: ShellConnection) -> None:
    text = "".join(f": '{'x' * 100}'\n" for _ in range(10_000)) + "printf %s 'ü\udcff' | od -An -tx1"
    assert await lines(connection, text) == [" c3 bc ff"]


async def test_many_lines_come_in_order(connection: ShellConnection) -> None:
    assert await lines(connection, "seq 100000") == [str(number) for number in range(1, 100_001)]


async def test_lines_come_while_the_script_still_runs(connection: ShellConnection, tmp_path: Path) -> None:
    text = f"echo waiting; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo gone"
    seen = []
    async for line in connection.run_script(text):
        seen.append(line)
        (tmp_path / "go").touch()
    assert seen == ["waiting", "gone"]


async def test_another_status_than_zero_is_an_error_with_the_shells_last_words(connection: ShellConnection) -> None:
    with pytest.raises(HostError, match="worker1: no sudo for you") as caught:
        await lines(connection, "echo no sudo for you >&2; exit 1")
    assert not isinstance(caught.value, HostUnreachable)


async def test_a_shell_that_is_killed_is_an_error(connection: ShellConnection) -> None:
    with pytest.raises(HostError):
        await lines(connection, "kill -9 $$")


async def test_several_scripts_run_side_by_side(connection: ShellConnection) -> None:
    answers = await asyncio.gather(*(lines(connection, f"sleep 0.1; echo {number}") for number in range(9)))
    assert answers == [[str(number)] for number in range(9)]


async def test_a_run_may_be_left_early(connection: ShellConnection) -> None:
    run = connection.run_script("echo one; sleep 0.2; echo two")
    assert await anext(run) == "one"
    await run.aclose()
    assert await lines(connection, "echo three") == ["three"]


async def test_a_file_is_put_whole(connection: ShellConnection, tmp_path: Path) -> None:
    source, there = tmp_path / "source", tmp_path / "it's there"
    source.write_bytes(bytes(range(256)) * 20_000)
    there.write_text("what it held before")
    told: list[tuple[int, int]] = []
    await connection.put(source, str(there), lambda sent, size: told.append((sent, size)))
    assert there.read_bytes() == source.read_bytes()
    assert told[-1] == (5_120_000, 5_120_000)
    assert [name for name in os.listdir(tmp_path) if "partial" in name] == []  # noqa: PTH208 - at once, in a coroutine


async def test_an_empty_file_can_be_put(connection: ShellConnection, tmp_path: Path) -> None:
    (tmp_path / "source").touch()
    await connection.put(tmp_path / "source", str(tmp_path / "there"))
    assert (tmp_path / "there").read_bytes() == b""


async def test_a_file_that_cannot_be_placed_is_the_hosts_error(connection: ShellConnection, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 5_000_000)
    with pytest.raises(HostError, match="worker1") as caught:
        await connection.put(source, str(tmp_path / "no folder" / "file"))
    assert not isinstance(caught.value, HostUnreachable)
    assert await lines(connection, "echo still here") == ["still here"]


async def test_a_file_that_is_not_here_is_our_error(connection: ShellConnection, tmp_path: Path) -> None:
    with pytest.raises((FileNotFoundError, HostError)):
        await connection.put(tmp_path / "none", str(tmp_path / "there"))
    assert not (tmp_path / "there").exists()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.readline()).upper())
    await writer.drain()
    writer.close()


async def ask(connection: ShellConnection, path: str) -> bytes:
    async with connection.forward(path) as local:
        assert local.parent.stat().st_mode & 0o077 == 0
        reader, writer = await asyncio.open_unix_connection(local)
        writer.write(b"hello\n")
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert not local.exists()
    return answer


async def test_a_socket_of_the_host_is_reached_by_its_path(connection: ShellConnection, tmp_path: Path) -> None:
    async with await asyncio.start_unix_server(echo, tmp_path / "qmp"):
        assert await ask(connection, str(tmp_path / "qmp")) == b"HELLO\n"


@asynccontextmanager
async def named_in_a_command_line(display: str) -> AsyncIterator[None]:
    """Run a process that has this argument, as QEMU has its screen's: root forwards to no other ports."""
    program = "import sys, time; print(flush=True); time.sleep(60)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, display, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    try:
        yield
    finally:
        process.kill()
        await process.communicate()


async def test_a_port_of_the_hosts_loopback_is_reached(connection: ShellConnection) -> None:
    async with await asyncio.start_server(echo, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        async with named_in_a_command_line(f"127.0.0.1:{port - 5900}"):
            assert await ask(connection, f"localhost:{port}") == b"HELLO\n"


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
async def test_a_file_can_be_read_and_put_elsewhere(connection: ShellConnection, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "there").write_bytes(content)
    async with connection.get(str(tmp_path / "there")) as stream:
        assert stream.size == size
        await connection.put(stream, str(tmp_path / "copy"), private=True)
    assert (tmp_path / "copy").read_bytes() == content
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600


async def test_a_file_that_is_not_there_cannot_be_read(connection: ShellConnection, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="there is no file"):
        async with connection.get(str(tmp_path / "none")):
            pass
