from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from reconciler.spec.models.cluster import Limits, VlanRange, parse_vlan_range
from reconciler.spec.models.fields import format_rate, format_size, parse_rate, parse_size
from reconciler.spec.models.names import NAME_PATTERN, link_key, skeleton, slice_key
from reconciler.spec.models.slice import Endpoint, parse_endpoint


@pytest.mark.parametrize(
    ("written", "size"),
    [("1KiB", 1024), ("256MiB", 256 * 2**20), ("2GiB", 2**31), ("1TiB", 2**40), ("999999999KiB", 999999999 * 1024)],
)
def test_sizes_have_units(written: str, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(
    "written",
    [
        "",
        "1",
        1,
        1024,
        "1 GiB",
        "1GB",
        "1gib",
        "1.5GiB",
        "0MiB",
        "01MiB",
        "-1MiB",
        "1MiB\n",
        "٣MiB",
        True,
        None,
        ["1MiB"],
    ],
)
def test_everything_else_is_not_a_size(written: object) -> None:
    with pytest.raises(ValueError, match="with a unit"):
        parse_size(written)


@given(st.integers(1, 10**9 - 1), st.sampled_from(["KiB", "MiB", "GiB", "TiB"]))
def test_a_size_is_written_so_that_it_reads_back(count: int, unit: str) -> None:
    size = parse_size(f"{count}{unit}")
    written = format_size(size)
    assert parse_size(written) == size
    assert len(written) <= len(f"{count}{unit}")


@given(st.integers(1, 10**9 - 1), st.sampled_from(["Kbit", "Mbit", "Gbit"]))
def test_a_rate_is_written_so_that_it_reads_back(count: int, unit: str) -> None:
    rate = parse_rate(f"{count}{unit}")
    assert rate == count * {"K": 10**3, "M": 10**6, "G": 10**9}[unit[0]]
    assert parse_rate(format_rate(rate)) == rate


@pytest.mark.parametrize("written", ["", 100, "100", "Mbit", "0Mbit", "1.5Mbit", "100MB", "-1Mbit", "1Mbit\n", None])
def test_everything_else_is_not_a_rate(written: object) -> None:
    with pytest.raises(ValueError, match=r"with a unit: Kbit, Mbit or Gbit, such as 100Mbit$"):
        parse_rate(written)


@pytest.mark.parametrize("written", ["100mbit", "100 Mbit", "100M", "100Mbps", "100Mbit/s", "100Mb/s", "100mb"])
def test_a_rate_in_another_form_is_read_as_a_hint(written: str) -> None:
    with pytest.raises(ValueError, match=r"did you mean 100Mbit\?"):
        parse_rate(written)


@pytest.mark.parametrize("written", ["63Kbit", "101Gbit"])
def test_a_bandwidth_has_bounds(written: str) -> None:
    with pytest.raises(ValidationError, match="write a bandwidth from 64Kbit to 100Gbit"):
        Limits.model_validate({"bandwidth": written})


@pytest.mark.parametrize(
    ("written", "end"),
    [("web", Endpoint("web")), ("web:eth1", Endpoint("web", "eth1")), ("a-b:eth12", Endpoint("a-b", "eth12"))],
)
def test_endpoints(written: str, end: Endpoint) -> None:
    assert parse_endpoint(written) == end
    assert str(end) == written
    assert parse_endpoint(end) is end


@pytest.mark.parametrize(
    "written", ["", "Web", "web:", "web:eth01", "web:eth1\n", "web eth1", "web:eth100", 1, None, []]
)
def test_everything_else_is_not_a_endpoint(written: object) -> None:
    with pytest.raises(ValueError, match="VM's name"):
        parse_endpoint(written)


def test_the_internet_interface_is_never_linked() -> None:
    with pytest.raises(ValueError, match="eth0 is the internet interface"):
        parse_endpoint("web:eth0")


def test_vlan_ranges() -> None:
    assert parse_vlan_range("100-3999") == VlanRange(100, 3999)
    assert str(VlanRange(100, 3999)) == "100-3999"
    for wrong in ("0-10", "100-4094", "200-100", "100", "100 - 200", 100, None):
        with pytest.raises(ValueError, match="first-last"):
            parse_vlan_range(wrong)


def test_keys_do_not_depend_on_the_way_round() -> None:
    assert link_key("web:eth1", "db:eth1") == link_key("db:eth1", "web:eth1") == "db:eth1--web:eth1"
    assert slice_key("alice", "lab1") == "alice/lab1"


@given(st.from_regex(re.compile(NAME_PATTERN), fullmatch=True))
def test_the_skeleton_of_a_skeleton_is_itself(name: str) -> None:
    assert skeleton(skeleton(name)) == skeleton(name)
