"""Reads and updates `database.yaml`: the users and their quotas, the workers that get new VMs, and counters.

The state is authoritative. Slices, used VMs and counters are copied from it after each call. Users, quotas and workers
are edited by people.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from reconciler.errors import Code, ReconcilerError
from reconciler.files import SHARED, write_file
from reconciler.orchestrator.file_lock import locked
from reconciler.orchestrator.round_trip import dump, flow_list, load
from reconciler.orchestrator.usage import owned_slices, used_vms
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.models.cluster import Quota

FILE: Final = "database.yaml"
WORKERS: Final = ("10.0.10.1", "10.0.10.2", "10.0.10.3")
"""The workers of a database without a list of workers."""

_FIRST: Final = f"""\
# Edit users, quotas and workers here. Slices, used VMs and counters are written after each call of the
# orchestrator, from the state that `reconciler status` shows.
workers_list: [{", ".join(WORKERS)}]
users:
  admin: {{slices: [], used_vms: 0, quota: {{slices: 10, vms: 50}}}}
counters: {{slice_id: 1000, vm_id: 1001, link_id: 1}}
"""


def _quota(value: Any) -> Any:
    """Read a number without a key as a number of VMs."""
    return {"vms": value} if isinstance(value, int) and not isinstance(value, bool) else value


class User(BaseModel):
    """One user: the ids of their slices, the number of VMs in these, and their quota."""

    model_config = ConfigDict(extra="allow")

    slices: list[int] = Field(default_factory=list)
    used_vms: int = 0
    quota: Annotated[Quota, BeforeValidator(_quota)] = Quota()


class Contents(BaseModel):
    """The keys of the file that are checked; other keys are kept."""

    model_config = ConfigDict(extra="allow")

    workers_list: list[str] = Field(default_factory=lambda: list(WORKERS))
    users: dict[str, User] = Field(default_factory=dict)


class Database:
    """The file, which is read again at each call; a missing file is created, with the user admin.

    Raises ReconcilerError if the file cannot be read, with line and column if they are known.
    """

    def __init__(self, path: str | PathLike[str] = FILE) -> None:
        self.path = Path(path).absolute()
        with self.locked():
            if not self.path.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_file(self.path, _FIRST, mode=SHARED)
        self.read()

    @property
    def workers_list(self) -> list[str]:
        """The addresses of the workers that get new VMs in turn."""
        return self.read().workers_list

    def user(self, name: str) -> User | None:
        """Return a user, or None."""
        return self.read().users.get(name)

    def read(self) -> Contents:
        """Return the contents of the file."""
        return self._read()[1]

    def locked(self) -> AbstractContextManager[None]:
        """Lock the file against all other threads and processes of this machine."""
        return locked(self.path.parent, self.path.name)

    def update_from(self, state: StateSnapshot) -> None:
        """Write each user's slices and VMs, and the counters, as the state has them; the caller holds the lock.

        What is being deleted counts until its deletion is confirmed.
        """
        document, contents = self._read()
        before = dump(document)
        counters = state.counters
        ids = {"slice_id": counters.slice_id, "vm_id": counters.vm_id, "link_id": counters.link_id}
        document.setdefault("counters", CommentedMap()).update(ids)
        for name in contents.users:
            entry = document["users"][name]
            entry["slices"] = _ids(owned_slices(state, name), entry.get("slices"))
            entry["used_vms"] = used_vms(state, name)
        after = dump(document)
        if after != before:
            write_file(self.path, after, mode=SHARED)

    def _read(self) -> tuple[Any, Contents]:
        try:
            document = load(self.path.read_text(encoding="utf-8")) or CommentedMap()
            return document, Contents.model_validate(document)
        except YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
            what = getattr(error, "problem", None) or error
            raise _unreadable(f"{self.path}{place}: {what}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise _unreadable(f"{self.path}: {where}: {first['msg']}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise _unreadable(f"{self.path} cannot be read: {error}") from error


def _unreadable(message: str) -> ReconcilerError:
    return ReconcilerError(message, code=Code.FILE_UNREADABLE)


def _ids(ids: list[int], before: Any) -> Any:
    """Return the ids to write; an equal list is kept as it is, with its layout."""
    return before if before == ids else flow_list(ids)
