"""The verbs of `lab`: a whole cluster on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from reconciler import lab
from reconciler.cli.help import Verb
from reconciler.cli.session import Session
from reconciler.spec.quoting import escape
from reconciler.views import documents
from reconciler.views.files import line_view
from reconciler.views.tables import Table
from reconciler.views.view import Block, View

Name = Annotated[str, typer.Option("--name", metavar="NAME", envvar="RECONCILER_LAB_NAME", help="The name of the lab.")]

VERBS = (
    Verb("up", "Verbs", __name__, "up", "Start workers and a network node, and print their cluster file."),
    Verb("down", "Verbs", __name__, "down", "Stop a lab and remove everything that it made."),
    Verb("status", "Verbs", __name__, "status", "Show the hosts of a lab."),
    Verb(
        "exec",
        "Verbs",
        __name__,
        "execute",
        "Run a command inside a host of a lab.",
        {"allow_interspersed_args": False, "ignore_unknown_options": False},
    ),
)


def up(
    session: Session,
    name: Name = "lab",
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", envvar="RECONCILER_LAB_WORKERS", help="How many workers.")
    ] = 3,
) -> None:
    """Start workers and a network node in namespaces of this machine, and print the path of their cluster file.

    Examples:
      reconciler lab up
      export RECONCILER_CLUSTER=$(reconciler lab up)
    """
    info = lab.up(name, workers, report=_report)
    file = str(info.cluster_file)
    session.show(line_view(file, documents.LabUp(name=info.name, cluster=file)))


def down(session: Session, name: Name = "lab") -> None:
    """Stop a lab and remove every process, namespace, interface, mount and file of it.

    Example:
      reconciler lab down
    """
    lab.down(name, report=_report)
    session.show(View(list, lambda: documents.LabDown(name=name, up=False)))


def status(session: Session, name: Name = "lab") -> int:
    """Show the hosts of a lab, and log in to each. Exits 1 if a host is down or a login fails.

    Example:
      reconciler lab status
    """
    found = lab.status(name, try_logins=True)
    session.show(View(lambda: _status_text(found), lambda: _status_document(found)))
    return 0 if found.up else 1


def execute(
    session: Session,  # noqa: ARG001 - every verb is given one
    host: Annotated[str, typer.Argument(metavar="HOST", help="worker1, worker2, ..., or gateway.")],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND", help="What to run there, as root.")],
    name: Name = "lab",
) -> int:
    """Run a command inside a host of a lab.

    Examples:
      reconciler lab exec worker1 -- ovs-vsctl show
      reconciler lab exec gateway -- ip netns
    """
    return lab.exec_in(name, host, command[1:] if command[0] == "--" else command)


def _report(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _status_text(found: lab.LabStatus) -> Iterator[Block]:
    yield Table([_place(host) | {"login": host.login_error is None if host.up else None} for host in found.hosts])
    yield f"cluster file: {found.cluster_file}\n"
    for host in found.hosts:
        if host.login_error is not None:
            yield f"{host.name}: login failed: {escape(host.login_error)}\n"
    if found.remedy is not None:
        yield f"hint: run `{found.remedy}`; hosts that are up keep running, with their guests\n"


def _status_document(found: lab.LabStatus) -> documents.LabStatus:
    hosts = [documents.LabHost(**_place(host), login_error=host.login_error) for host in found.hosts]
    cluster = str(found.cluster_file)
    return documents.LabStatus(name=found.name, cluster=cluster, up=found.up, remedy=found.remedy, hosts=hosts)


def _place(host: lab.HostStatus) -> dict[str, Any]:
    ssh = f"127.0.0.1:{host.port}"
    return {"host": host.name, "address": host.address, "ssh": ssh, "pid": host.pid, "up": host.up}
