"""Formats resources and their values for people: a new resource as one line, sizes and rates with units."""

from __future__ import annotations

from typing import Any

from reconciler.plan.resources import KINDS, Resource
from reconciler.spec.models.fields import format_rate, format_size


def essence(resource: Resource) -> str:
    """Format the attributes that a reviewer needs of a new resource as one line; the JSON form has all of them."""
    sizes, rates, secrets = resource.sizes, resource.rates, resource.secrets
    return ", ".join(
        [
            f"{name} {_format(value, size=name in sizes, rate=name in rates, secret=name in secrets)}"
            for name, value in [(name, getattr(resource, name)) for name in resource.summary]
        ]
    )


def show_change(name: str, before: Any, after: Any) -> tuple[str, str]:
    """Format the two values of an attribute that differ; of a secret, only that they differ."""
    written = show_value(name, before), show_value(name, after)
    return (written[0], "another") if _is_secret(name) and written[0] == written[1] else written


def show_value(name: str, value: Any) -> str:
    """Format the value of an attribute."""
    size = any(name in noun.sizes for noun in KINDS.values())
    rate = any(name in noun.rates for noun in KINDS.values())
    return _format(value, size=size, rate=rate, secret=_is_secret(name))


def _is_secret(name: str) -> bool:
    return any(name in noun.secrets for noun in KINDS.values())


def _format(value: Any, *, size: bool = False, rate: bool = False, secret: bool = False) -> str:
    if value is None or secret:
        return "none" if value is None else "(secret)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if (size or rate) and isinstance(value, int):
        return format_size(value) if size else format_rate(value)
    if isinstance(value, list | tuple):
        return ", ".join([_format(item) for item in value]) or "none"
    if isinstance(value, dict):
        parts = [str(item) for item in value.values() if not isinstance(item, bool)]
        flags = [key.replace("_", " ") for key, item in value.items() if item is True]
        return " ".join(parts + flags)
    return str(value)
