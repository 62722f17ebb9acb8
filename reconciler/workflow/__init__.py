"""The operations that every front end calls: load, plan, apply, refresh, verify, gc, doctor.

What plans need is imported with the package; the rest is imported when it is first used, because it brings the drivers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from reconciler.workflow.documents import document_cache
from reconciler.workflow.load import Inputs, load
from reconciler.workflow.planning import (
    NOTHING_ELSE,
    Asked,
    asked,
    find_slices,
    plan,
    plan_unsettled,
    slices_named,
    undescribed,
)
from reconciler.workflow.settled import settled_slices

if TYPE_CHECKING:
    from reconciler.workflow.applying import (
        ApplyResult,
        PreparedApply,
        apply,
        perform,
        prepare,
        prepare_saved,
        renumber,
    )
    from reconciler.workflow.refresh import ClusterDrift, compare, drift, present_resources

_APPLYING = ("ApplyResult", "PreparedApply", "apply", "perform", "prepare", "prepare_saved", "renumber")
_REFRESH = ("ClusterDrift", "compare", "drift", "present_resources")
_MODULES = dict.fromkeys(_APPLYING, "applying") | dict.fromkeys(_REFRESH, "refresh")

__all__ = [
    "NOTHING_ELSE",
    "ApplyResult",
    "Asked",
    "ClusterDrift",
    "Inputs",
    "PreparedApply",
    "apply",
    "asked",
    "compare",
    "document_cache",
    "drift",
    "find_slices",
    "load",
    "perform",
    "plan",
    "plan_unsettled",
    "prepare",
    "prepare_saved",
    "present_resources",
    "renumber",
    "settled_slices",
    "slices_named",
    "undescribed",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
