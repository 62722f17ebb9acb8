"""A switch receives all requests over one connection to its control socket, and only valid replies are accepted."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.apply.observation.trace import trace
from reconciler.errors import HostError
from reconciler.spec.models.names import HostName
from tests.apply.localhost import Localhosts

W1, W2 = HostName("worker1"), HostName("worker2")
PROGRAMS = ("sh", "cat", "env", "flock", "head", "mkdir", "mktemp", "rm", "ovs-appctl")
"""What a host has, but for Python."""

Answer = Callable[[dict[str, Any]], str]


@pytest.fixture
def without_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a host the programs that it needs, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in PROGRAMS:
        found = shutil.which(name)
        assert found is not None, name
        (folder / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))


@asynccontextmanager
async def switch(folder: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer) -> AsyncIterator[list[dict[str, Any]]]:
    """Serve a control socket as ovs-vswitchd does, whose answers are a test's; gives the list of what was asked."""
    heard: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pending = ""
        while piece := await reader.read(1 << 16):
            pending += piece.decode()
            while pending:
                try:
                    question, end = json.JSONDecoder().raw_decode(pending)
                except ValueError:
                    break
                pending = pending[end:].lstrip()
                heard.append(question)
                writer.write(answer(question).encode())
        writer.close()

    monkeypatch.setenv("OVS_RUNDIR", str(folder))
    with (folder / "ovs-vswitchd.pid").open("w") as file:
        file.write(f"{os.getpid()}\n")
        file.flush()
        fcntl.lockf(file, fcntl.LOCK_EX)  # by which ovs-appctl tells that the process still runs
        async with await asyncio.start_unix_server(serve, folder / f"ovs-vswitchd.{os.getpid()}.ctl"):
            yield heard


def echo(question: dict[str, Any]) -> str:
    """Answer as a switch does: with words on several lines, the question's own among them."""
    words = f"Flow: {question['params'][-1]}\n\nDatapath actions: drop\n"
    return json.dumps({"id": question["id"], "result": words, "error": None})


async def test_each_host_replies_in_the_order_of_its_requests_over_one_connection(
    hosts: Localhosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flows = [f"in_port={number},dl_type=0x0800" for number in range(300)]
    async with switch(tmp_path, monkeypatch, echo) as heard:
        found = await trace(hosts, "br-int", {W1: flows, W2: flows[:1], HostName("idle"): []})
    assert found[W1] == tuple(f"Flow: {flow}\n\nDatapath actions: drop\n" for flow in flows)
    assert found[W2] == found[W1][:1]
    assert len(heard) == 301
    assert heard[0]["params"] == ["--names", "br-int", flows[0]]
    assert {question["method"] for question in heard} == {"ofproto/trace"}, "nothing that could change a switch"
    assert sorted(sent.host for sent in hosts.sent) == [W1, W2]
    assert all(sent.probe for sent in hosts.sent)


async def test_a_host_without_python_is_asked_one_question_at_a_time(
    hosts: Localhosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_python: None
) -> None:
    async with switch(tmp_path, monkeypatch, echo) as heard:
        found = await trace(hosts, "br-int", {W1: ["in_port=1", "in_port=2"]})
    assert found[W1] == tuple(f"Flow: in_port={number}\n\nDatapath actions: drop\n" for number in (1, 2))
    assert [question["id"] for question in heard] == [0, 0], "each is the first of a connection of its own"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda _: '{"id":0,"result":null,"error":"br-int: unknown bridge"}', "br-int: unknown bridge"),
        (lambda _: '{"id":7,"result":"Datapath actions: drop","error":null}', "its reply is to another request"),
        (lambda _: '{"result":"Datapath actions: drop","error":null}', "'id'"),
        (lambda _: '["Datapath actions: drop"]', "list indices"),
        (lambda _: '{"id":0,"result":17,"error":null}', "'int' object"),
        (lambda _: '{"id":0,"result":"' + "x" * (2 << 20), "its reply has no end"),
        (lambda _: '{"id":0,"result":"' + "x" * (9 << 19) + '"', "its reply has no end"),
        (lambda question: echo(question) + "}{" * (1 << 20), "its reply has no end"),
    ],
    ids=["error", "another", "no-id", "list", "number", "endless", "too-long", "noise"],
)
async def test_an_invalid_reply_is_an_error_with_the_reason(
    hosts: Localhosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, words: str
) -> None:
    async with switch(tmp_path, monkeypatch, answer):
        with pytest.raises(HostError) as caught:
            await trace(hosts, "br-int", {W1: ["in_port=1", "in_port=2"]})
    assert str(caught.value).startswith("worker1: the switch cannot be queried: ")
    assert words in str(caught.value)


async def test_a_reply_cannot_pass_for_two_or_control_a_terminal(
    hosts: Localhosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = "Datapath actions: drop\nend of a trace\n\x1b[2Jéé"

    def answer(question: dict[str, Any]) -> str:
        return json.dumps({"id": question["id"], "result": forged, "error": None}, ensure_ascii=False)

    async with switch(tmp_path, monkeypatch, answer):
        found = await trace(hosts, "br-int", {W1: ["in_port=1", "in_port=2"]})
    assert found[W1] == ("Datapath actions: drop\nend of a trace\n\\x1b[2Jéé\n",) * 2


async def test_a_switch_that_does_not_run_is_an_error_with_the_host_s_message(
    hosts: Localhosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVS_RUNDIR", str(tmp_path / "nowhere"))
    with pytest.raises(HostError, match=r"the switch cannot be queried: .*No such file.*ovs-vswitchd\.pid"):
        await trace(hosts, "br-int", {W1: ["in_port=1"]})
