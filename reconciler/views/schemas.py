"""Gives the JSON Schema of every document that a verb prints with --json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from reconciler.views import documents, preview_documents, state_documents

DOCUMENTS: Mapping[str, Any] = {
    "init": documents.Written,
    "validate": documents.Valid,
    "plan": documents.PlanDocument | documents.SimulatedPlanDocument,
    "preview": preview_documents.PreviewDocument,
    "apply": documents.Applied | documents.AppliedChanges,
    "destroy": documents.Applied | documents.AppliedChanges,
    "status": list[documents.SliceDocument],
    "show": documents.SliceDocument | documents.PlanDocument,
    "history": list[documents.HistoryDocument] | list[documents.HistoryStep],
    "unlock": documents.FreeLock | documents.RemovedLock,
    "state-list": list[documents.StateEntry],
    "state-show": documents.StateResource,
    "state-export": documents.Exported,
    "state-import": documents.Imported,
    "state-forget": documents.Forgotten,
    "state-rebuild": state_documents.Rebuild,
    "state-restore": list[state_documents.KeptCopy] | state_documents.RestoredState,
    "forget": documents.Forgotten,
    "hosts": list[documents.HostDocument],
    "cordon": documents.CordonDocument,
    "uncordon": documents.CordonDocument,
    "drift": documents.DriftDocument,
    "gc": documents.GcDocument,
    "verify": documents.VerifyDocument,
    "doctor": documents.DoctorDocument,
    "comment": documents.CommentDocument,
    "lab-up": documents.LabUp,
    "lab-down": documents.LabDown,
    "lab-status": documents.LabStatus,
    "error": documents.ErrorDocument,
}
"""The documents of each verb; a verb of a group has the group's name before it."""


def schema_text(name: str) -> str:
    """Return the JSON Schema of a verb's documents, with its newline."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"reconciler {name} --json"}
    found = TypeAdapter(DOCUMENTS[name]).json_schema(mode="serialization")
    return json.dumps(schema | {key: value for key, value in found.items() if key != "title"}, indent=2) + "\n"
