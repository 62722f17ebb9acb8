"""Defines the base model and field types that slice and cluster files share."""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from reconciler.spec.models.names import BitRate, Bytes

_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE = re.compile(r"(?P<count>[1-9][0-9]{0,8})(?P<unit>[KMGT]iB)")
_ALMOST_SIZE = re.compile(r"(?P<count>[1-9][0-9]{0,8}) ?(?P<unit>[KMGTkmgt])[Ii]?[Bb]?")
_RATE_UNITS = {"Kbit": 10**3, "Mbit": 10**6, "Gbit": 10**9}
_RATE = re.compile(r"(?P<count>[1-9][0-9]{0,8})(?P<unit>[KMG]bit)")
_ALMOST_RATE = re.compile(r"(?P<count>[1-9][0-9]{0,8}) ?(?P<unit>[KMGkmg])([Bb]it|b)?([/p]s)?")


class Model(BaseModel):
    """The base of all models of files: frozen, strict (no value is coerced), unknown keys are refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class UpdatePolicy(StrEnum):
    """What changing a field does to a running slice. What may only GROW is changed live, and never made smaller."""

    LIVE = "live"
    GROW = "grow"
    RESTART = "restart"
    RECREATE = "recreate"
    IMMUTABLE = "immutable"


def update_policy(model: type[BaseModel], field: str) -> UpdatePolicy:
    """Return the policy of a model's field; raises LookupError if it has none."""
    for item in model.model_fields[field].metadata:
        if isinstance(item, UpdatePolicy):
            return item
    msg = f"{model.__name__}.{field} has no update policy"
    raise LookupError(msg)


def parse_size(value: Any) -> Bytes:
    """Read `256MiB` or `1GiB` as bytes; raises ValueError for anything else, bare numbers included."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return Bytes(int(match["count"]) * _UNITS[match["unit"]])
    like = _ALMOST_SIZE.fullmatch(value) if isinstance(value, str) else None
    meant = f"; did you mean {like['count']}{like['unit'].upper()}iB?" if like else ""
    msg = f"write a size with a unit: KiB, MiB, GiB or TiB, such as 256MiB{meant}"
    raise ValueError(msg)


def parse_rate(value: Any) -> BitRate:
    """Read `100Mbit` or `1Gbit` as bits in a second; raises ValueError for anything else, bare numbers included."""
    if isinstance(value, str) and (match := _RATE.fullmatch(value)):
        return BitRate(int(match["count"]) * _RATE_UNITS[match["unit"]])
    like = _ALMOST_RATE.fullmatch(value) if isinstance(value, str) else None
    meant = f"; did you mean {like['count']}{like['unit'].upper()}bit?" if like else ""
    msg = f"write bits in a second with a unit: Kbit, Mbit or Gbit, such as 100Mbit{meant}"
    raise ValueError(msg)


def parse_version(value: Any) -> Any:
    """Refuse `true`, which Python takes for 1; raises ValueError."""
    if isinstance(value, bool):
        msg = "write `version: 1`"
        raise ValueError(msg)  # noqa: TRY004 - pydantic collects ValueError alone
    return value


def format_size(size: int) -> str:
    """Write bytes in the largest unit that divides them."""
    for unit, factor in reversed(_UNITS.items()):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def format_rate(rate: int) -> str:
    """Write bits in a second in the largest unit that divides them."""
    for unit, factor in reversed(_RATE_UNITS.items()):
        if rate and rate % factor == 0:
            return f"{rate // factor}{unit}"
    return f"{rate}bit"


def parse_address(value: Any) -> IPv4Address:
    """Read an IPv4 address; raises ValueError for anything else."""
    if isinstance(value, IPv4Address):
        return value
    try:
        return IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        msg = f"write an IPv4 address, such as 10.0.10.1{_no_ipv6(value)}"
        raise ValueError(msg) from None


def _no_ipv6(value: Any) -> str:
    return "; the networks of guests have no IPv6" if isinstance(value, str) and ":" in value else ""


def parse_host_address(value: Any) -> IPv4Address | IPv6Address:
    """Read an IPv4 or IPv6 address of a host; raises ValueError for what no host can have as its only address."""
    if isinstance(value, IPv4Address | IPv6Address):
        return value
    try:
        found = ip_address(value if isinstance(value, str) else "")
    except ValueError:
        msg = "write an IPv4 or IPv6 address without brackets, such as 10.0.10.1 or fd00::1"
        raise ValueError(msg) from None
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        msg = f"write {found.ipv4_mapped}"
    elif isinstance(found, IPv6Address) and found.is_link_local and found.scope_id is None:
        msg = f"a link-local address needs its interface, such as {found}%eth0"
    elif found.is_unspecified or found.is_multicast:
        msg = "it is not the address of one host"
    else:
        return found
    raise ValueError(msg)


def parse_network(value: Any) -> IPv4Network:
    """Read an IPv4 network without host bits; raises ValueError for anything else."""
    if isinstance(value, IPv4Network):
        return value
    try:
        return IPv4Network(value if isinstance(value, str) else "")
    except ValueError:
        msg = f"write an IPv4 network, such as 192.168.77.0/24{_no_ipv6(value)}"
        raise ValueError(msg) from None


Ipv4 = Annotated[IPv4Address, BeforeValidator(parse_address), WithJsonSchema({"type": "string", "format": "ipv4"})]
HostAddress = Annotated[
    IPv4Address | IPv6Address,
    BeforeValidator(parse_host_address),
    WithJsonSchema({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}),
]
Ipv4Net = Annotated[
    IPv4Network,
    BeforeValidator(parse_network),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9.]+/[0-9]{1,2}$"}),
]

Version = Annotated[Literal[1], BeforeValidator(parse_version)]
"""The version of the file format; a later format gets a later number."""


def _pattern(expression: re.Pattern[str]) -> WithJsonSchema:
    text = expression.pattern.replace("?P<count>", "").replace("?P<unit>", "")
    return WithJsonSchema({"type": "string", "pattern": f"^{text}$"})


Size = Annotated[Bytes, BeforeValidator(parse_size), _pattern(_SIZE)]
"""A size as users write it, with its unit; bytes in the model."""

Rate = Annotated[BitRate, BeforeValidator(parse_rate), _pattern(_RATE)]
"""A bandwidth as users write it, with its unit; bits in a second in the model."""
