"""Opens the engine, or only connections to hosts, by the global options."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AbstractAsyncContextManager

from reconciler import engine
from reconciler.apply.execution.events import Observer
from reconciler.apply.transport.connection import Connector
from reconciler.cli.global_options import GlobalOptions
from reconciler.engine import Engine
from reconciler.spec.models.cluster import Cluster


def connecting(options: GlobalOptions, cluster: Cluster) -> AbstractAsyncContextManager[Connector]:
    """Return a context that connects to hosts; with --verbose, it reports each connection."""
    return engine.connecting(cluster, _report if options.verbose else None)


def open_engine(  # noqa: PLR0913 - the options of a verb, each by name
    options: GlobalOptions,
    cluster: Cluster,
    observer: Observer,
    stop: asyncio.Event,
    *,
    read_only: bool = False,
    parallelism: int,
    lock_timeout: float = 0.0,
) -> AbstractAsyncContextManager[Engine]:
    """Return a context that opens the state of a cluster and connects to its hosts."""
    return engine.open_engine(
        cluster,
        options.state,
        read_only=read_only,
        observer=observer,
        stop=stop,
        parallelism=parallelism,
        lock_timeout=lock_timeout,
        report=_report if options.verbose else None,
    )


def _report(line: str) -> None:
    sys.stderr.write(f"{line}\n")
