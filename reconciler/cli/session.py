"""Holds what all verbs share: the global options, and the files, state and hosts that they select."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.errors import ReconcilerError, UsageError

if TYPE_CHECKING:
    import asyncio

    from rich.console import Console

    from reconciler.apply.execution.events import Observer
    from reconciler.apply.transport.connection import Connector
    from reconciler.engine import Engine
    from reconciler.spec.load import ClusterFile
    from reconciler.spec.models.cluster import Cluster as ClusterModel
    from reconciler.state.sql.store import SqlStore
    from reconciler.state.store import StateReader
    from reconciler.views.view import View
    from reconciler.workflow import Inputs

GLOBAL_PANEL = "Global options"
_UNBOUNDED = 10_000
"""The width of text in a file or a pipe, in columns: it is never folded."""

Cluster = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        metavar="FILE",
        envvar="RECONCILER_CLUSTER",
        help="The cluster file. (default: cluster.yaml here or in a parent folder)",
        rich_help_panel=GLOBAL_PANEL,
    ),
]
State = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="PATH|URL",
        envvar="RECONCILER_STATE",
        help="Where the state is: a file, or a PostgreSQL URL. (default: one file per cluster)",
        rich_help_panel=GLOBAL_PANEL,
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", envvar="RECONCILER_JSON", help="Print JSON.", rich_help_panel=GLOBAL_PANEL),
]
NoColor = Annotated[
    bool,
    typer.Option(
        "--no-color", envvar="RECONCILER_NO_COLOR", help="Print without colour.", rich_help_panel=GLOBAL_PANEL
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        envvar="RECONCILER_VERBOSE",
        help="Also report connections, starts of steps, and where errors were raised.",
        rich_help_panel=GLOBAL_PANEL,
    ),
]


@dataclass(slots=True)
class Session:
    """One run of the command line, with its global options."""

    cluster: Path | None = None
    state: str | None = None
    json: bool = False
    no_color: bool = False
    verbose: bool = False

    def cluster_path(self) -> Path:
        """Return the path of the cluster file; raises UsageError if none is given or found."""
        from reconciler.trees import find_cluster  # noqa: PLC0415

        found = self.cluster or find_cluster(Path.cwd())
        if found is None:
            raise UsageError(
                "no cluster file: neither --cluster nor a cluster.yaml here or in a parent folder",
                hint="`reconciler init` writes one to start from; `reconciler lab up` prints the path of another",
            )
        return found

    def inputs(self, paths: Sequence[Path] = ()) -> Inputs:
        """Load the cluster file, and slice files if given."""
        from reconciler import workflow  # noqa: PLC0415

        cluster = self.cluster_path()
        return workflow.load(cluster, paths, documents=workflow.document_cache(cluster))

    def slice_inputs(self, paths: Sequence[Path]) -> Inputs:
        """Load the cluster file and slice files, by default those in the folder of the cluster file."""
        return self.inputs(paths or [_near(self.cluster_path().resolve().parent)])

    @contextmanager
    def reader(self, cluster: ClusterFile) -> Iterator[StateReader]:
        """Open the state of a cluster for reading, without SQLAlchemy if possible."""
        from reconciler.state.reader import open_reader  # noqa: PLC0415 - help needs no state

        reader = open_reader(cluster.cluster.name, self.state)
        try:
            yield reader
        finally:
            reader.close()

    @contextmanager
    def store(self, cluster: ClusterFile, *, read_only: bool = False) -> Iterator[SqlStore]:
        """Open the state of a cluster."""
        from reconciler.state.sql.store import open_state  # noqa: PLC0415

        store = open_state(cluster.cluster.name, self.state, read_only=read_only)
        try:
            yield store
        finally:
            store.close()

    def connecting(self, cluster: ClusterModel) -> AbstractAsyncContextManager[Connector]:
        """Return a context that connects to hosts; with --verbose, it reports each connection."""
        from reconciler.engine import connecting  # noqa: PLC0415

        return connecting(cluster, _report if self.verbose else None)

    def engine(
        self,
        cluster: ClusterFile,
        observer: Observer,
        stop: asyncio.Event,
        *,
        read_only: bool = False,
        parallelism: int,
        lock_timeout: float = 0.0,
    ) -> AbstractAsyncContextManager[Engine]:
        """Return a context that opens the state of a cluster and connects to its hosts."""
        from reconciler.engine import open_engine  # noqa: PLC0415

        return open_engine(
            cluster.cluster,
            self.state,
            read_only=read_only,
            observer=observer,
            stop=stop,
            parallelism=parallelism,
            lock_timeout=lock_timeout,
            report=_report if self.verbose else None,
        )

    def console(self, *, stderr: bool = False) -> Console:
        """Return a console that respects --no-color, NO_COLOR and TERM=dumb; only a terminal limits its width."""
        from rich.console import Console  # noqa: PLC0415

        plain = self.no_color or os.environ.get("TERM") == "dumb"
        width = None if (sys.stderr if stderr else sys.stdout).isatty() else _UNBOUNDED
        return Console(stderr=stderr, no_color=True if plain else None, highlight=False, soft_wrap=True, width=width)

    def show(self, view: View) -> None:
        """Print a view: as JSON with --json, else as text."""
        from reconciler.cli.output import show  # noqa: PLC0415 - pydantic: help needs no view

        show(self, view)


def _report(line: str) -> None:
    sys.stderr.write(f"{line}\n")


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
        for name, annotation, default in _GLOBALS
    ]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)

    @functools.wraps(verb)
    def run(context: typer.Context, **options: Any) -> None:
        session = _merged(context, {name: options.pop(name) for name, _, _ in _GLOBALS})
        try:
            code = verb(session, **options)
        except ReconcilerError as error:
            from reconciler.cli.errors import print_error  # noqa: PLC0415 - only if something is wrong

            print_error(error, as_json=session.json, verbose=session.verbose)
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
    before: Session = root.obj or Session()

    def chosen(name: str) -> Any:
        only_before = _is_flag(root, name) and not _is_flag(context, name)
        return getattr(before, name) if only_before else after[name] or getattr(before, name)

    return Session(**{name: chosen(name) for name in after})


def _is_flag(context: Any, name: str) -> bool:
    """Whether an option was given on the command line, and not by the environment or a file."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


_GLOBALS: tuple[tuple[str, Any, Any], ...] = (
    ("cluster", Cluster, None),
    ("state", State, None),
    ("json", Json, False),
    ("no_color", NoColor, False),
    ("verbose", Verbose, False),
)
