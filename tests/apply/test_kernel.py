"""A host's namespaces, and who answers on its links, are read from real kernels, and hostile answers are errors."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reconciler.apply.observation.arp import Question, probe_neighbours
from reconciler.apply.observation.kernel import read_kernels
from reconciler.errors import HostError
from reconciler.spec.models.names import HostName
from tests.apply.localhost import Localhosts

W1 = HostName("worker1")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder whose programs are found before those of the host."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


async def test_what_programs_print_is_kept_apart_by_lines(hosts: Localhosts, programs: Path) -> None:
    program(programs, "nft", """printf '{"nftables": [\\n  {"a": "*"}\\n]}'""")
    program(programs, "ip", """cat > /dev/null; printf '[]\\n[\\n]\\n[]\\n[{"x":"\\\\\\\\n"}]\\n'""")
    own, *others = (await read_kernels(hosts, [W1]))[W1]
    assert (own.namespace, own.rules) == ("", '{"nftables": [ {"a": "*"} ]}')
    assert own.network == '[] [ ] [] [{"x":"\\\\n"}]'
    assert "lo" in own.settings
    assert all(one.namespace for one in others)
    assert [sent.probe for sent in hosts.sent] == [True]


@pytest.mark.root
async def test_a_host_s_own_namespace_is_read(hosts: Localhosts) -> None:
    own = (await read_kernels(hosts, [W1]))[W1][0]
    decoder, at, found = json.JSONDecoder(), 0, []
    while at < len(own.network):
        document, at = decoder.raw_decode(own.network, at)
        found.append(document)
        at += 1
    links, addresses, routes, policy = found
    assert "lo" in {link["ifname"] for link in links}
    assert {each["family"] for link in addresses for each in link.get("addr_info", ())} <= {"inet"}
    assert not any(":" in route["dst"] for route in routes)
    assert {"local", "main"} <= {rule["table"] for rule in policy}


@pytest.mark.root
@pytest.mark.parametrize("name", ["ip", "nft", "nsenter"])
async def test_a_program_that_fails_is_an_error_with_its_message(hosts: Localhosts, programs: Path, name: str) -> None:
    program(programs, name, "echo 'no such thing' >&2; exit 1")
    with pytest.raises(HostError, match="no such thing"):
        await read_kernels(hosts, [W1])


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("echo '[\"52:54:00:00:00:01\"]'", "1 lines where 2 were expected"),
        ("echo '[]'; echo '[\"\\033[2J\"]'", "printed unexpected output"),
        ("echo '[]'; echo '{}'", "printed unexpected output"),
        ("echo '[]'; echo '[7]'", "printed unexpected output"),
        ("echo '[]'; echo no", "printed unexpected output"),
        ("echo 'Traceback' >&2; exit 1", "Traceback"),
    ],
)
async def test_an_invalid_result_of_the_arp_probe_is_an_error(
    hosts: Localhosts, programs: Path, printed: str, words: str
) -> None:
    program(programs, "python3", f"cat > /dev/null; {printed}")
    with pytest.raises(HostError, match=words):
        await probe_neighbours(hosts, {W1: [Question("", "lo", "127.0.0.1", "127.0.0.2")] * 2})


@pytest.mark.root
async def test_an_interface_that_does_not_exist_finds_no_neighbour(hosts: Localhosts) -> None:
    asked = [Question("nowhere", "none0", "10.0.0.1", "10.0.0.2"), Question("", "none0", "10.0.0.1", "10.0.0.3")]
    assert await probe_neighbours(hosts, {W1: asked}) == {W1: (frozenset(), frozenset())}
    assert await probe_neighbours(hosts, {W1: []}) == {}
