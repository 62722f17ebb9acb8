"""Gives verbs a session: the global options, and the files and state that they select."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from reconciler import workflow
from reconciler.cli import output
from reconciler.cli.errors import print_error
from reconciler.cli.global_options import GLOBALS, GlobalOptions
from reconciler.errors import ReconcilerError, UsageError
from reconciler.spec.load import ClusterFile, read_slices
from reconciler.state.location import place_of, sqlite_file
from reconciler.state.reader import open_reader
from reconciler.state.store import StateReader
from reconciler.trees import DISK, find_cluster
from reconciler.views.view import Block, View

if TYPE_CHECKING:
    from reconciler.state.sql.store import SqlStore


SLICES: Final = "slices"
"""The folder of slice files beside a cluster file."""


class Session(GlobalOptions):
    """One run of a verb, with its global options."""

    __slots__ = ()

    def cluster_path(self) -> Path:
        """Return the path of the cluster file; raises UsageError if none is given or found."""
        found = self.cluster or find_cluster(Path.cwd())
        if found is None:
            raise UsageError(
                "no cluster file: neither --cluster nor a cluster.yaml here or in a parent folder",
                hint="`reconciler init` writes one to start from; `reconciler lab up` prints the path of another",
            )
        return found

    def inputs(self, paths: Sequence[Path] = ()) -> workflow.Inputs:
        """Load the cluster file, and slice files if given."""
        cluster = self.cluster_path()
        return workflow.load(cluster, paths, documents=workflow.document_cache(cluster))

    def slice_inputs(self, paths: Sequence[Path], *, whole: bool = False) -> workflow.Inputs:
        """Load the cluster file and slice files, by default those of the slice folder.

        With `whole` the default is everything below the cluster file's folder too: a prune must see every slice file.
        A path where nothing is may be the name of a slice whose file is there.
        """
        return self.inputs(self._files(paths) or self._default_paths(whole=whole))

    def _default_paths(self, *, whole: bool) -> list[Path]:
        top = self.cluster_path().resolve().parent
        usual = top / SLICES
        folder = self.slice_folder or (usual if usual.is_dir() else top)
        return [_near(each) for each in ((folder, top) if whole else (folder,))]

    def slice_names(self, names: Sequence[str]) -> list[str]:
        """Return names of slices, where the path of a slice file stands for its slice."""
        return [self._key(Path(name)) if _is_slice_file(name) else name for name in names]

    def _key(self, path: Path) -> str:
        (file,) = self.inputs([path]).slices
        return file.slice.key

    def _files(self, paths: Sequence[Path]) -> list[Path]:
        if all(path.suffix or not _is_missing(path) for path in paths):
            return list(paths)
        files, _ = read_slices(DISK, self._default_paths(whole=True))  # problems of other files are not this command's
        known = {file.slice.key: Path(file.path) for file in files}

        def file_of(path: Path) -> Path:
            found = workflow.slices_named(str(path), known) if _is_missing(path) else []
            return known[found[0]] if len(found) == 1 else path

        return [file_of(path) for path in paths]

    def state_place(self, cluster: ClusterFile) -> str:
        """Return the file or the URL of the state, without a password."""
        place = place_of(cluster.cluster, self.state)
        if file := sqlite_file(place):
            return str(file)
        from reconciler.state.sql.url import place_name, to_url  # noqa: PLC0415 - SQLAlchemy: most states are files

        return place_name(to_url(place))

    @contextmanager
    def reader(self, cluster: ClusterFile) -> Iterator[StateReader]:
        """Open the state of a cluster for reading, without SQLAlchemy if possible."""
        reader = open_reader(cluster.cluster, self.state)
        try:
            yield reader
        finally:
            reader.close()

    @contextmanager
    def store(self, cluster: ClusterFile, *, read_only: bool = False) -> Iterator[SqlStore]:
        """Open the state of a cluster."""
        from reconciler.state.sql.store import open_state  # noqa: PLC0415 - SQLAlchemy: verbs that read do without it

        store = open_state(cluster.cluster, self.state, read_only=read_only)
        try:
            yield store
        finally:
            store.close()

    def show(self, view: View) -> None:
        """Print a view: as JSON with --json, else as text."""
        output.show(self, view)

    def remark(self, blocks: Iterable[Block]) -> None:
        """Print what only people need beside the result."""
        output.remark(self, blocks)

    def ask_about(self, blocks: Iterable[Block]) -> None:
        """Print what a question is about, before it is asked."""
        output.ask_about(self, blocks)


def _is_missing(path: Path) -> bool:
    """Whether nothing is at a path that may be one."""
    try:
        return not path.exists()
    except (OSError, ValueError):  # too long, or with a NUL: the error about it comes when it is read
        return False


def _is_slice_file(name: str) -> bool:
    try:
        return name.endswith((".yaml", ".yml")) and Path(name).is_file()
    except (OSError, ValueError):
        return False


def _near(path: Path) -> Path:
    """Return a path relative to the working folder if it is inside, because errors name files by it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def with_session(verb: Callable[..., int | None]) -> Callable[..., None]:
    """Give a verb the global options, so that they work after the verb too, and return its result as the exit code.

    The verb takes the session as its first parameter. An option after the verb overrides one before it.
    """
    own = [
        parameter for name, parameter in inspect.signature(verb, eval_str=True).parameters.items() if name != "session"
    ]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, annotation, default in GLOBALS
    ]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)

    @functools.wraps(verb)
    def run(context: typer.Context, **options: Any) -> None:
        session = _merged(context, {name: options.pop(name) for name, _, _ in GLOBALS})
        try:
            code = verb(session, **options)
        except ReconcilerError as error:
            print_error(session, error)
            code = 1
        if code:
            raise typer.Exit(code)

    keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    run.__signature__ = inspect.Signature([context, *keyword_only, *shared])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in [context, *keyword_only, *shared]}
    del run.__wrapped__
    return run


def _merged(context: typer.Context, after: Mapping[str, Any]) -> Session:
    """Join the global options before the verb with those after it: options of the command line first."""
    root = context.find_root()
    before: GlobalOptions = root.obj or GlobalOptions()

    def chosen(name: str) -> Any:
        only_before = _is_flag(root, name) and not _is_flag(context, name)
        return getattr(before, name) if only_before else after[name] or getattr(before, name)

    return Session(**{name: chosen(name) for name in after})


def _is_flag(context: Any, name: str) -> bool:
    """Whether an option was given on the command line, and not by the environment or a file."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
