"""The verbs of `lab`: a whole cluster on this machine."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from reconciler import lab
from reconciler.cli.help import Verb
from reconciler.cli.session import Session
from reconciler.views import documents
from reconciler.views.files import line_view
from reconciler.views.tables import Table
from reconciler.views.view import View

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
    """Show the hosts of a lab. Exits 1 if one is down.

    Example:
      reconciler lab status
    """
    found = lab.status(name)
    file = str(found.cluster_file)
    rows = [
        {"host": host.name, "address": host.address, "ssh": f"127.0.0.1:{host.port}", "pid": host.pid, "up": host.up}
        for host in found.hosts
    ]
    session.show(
        View(
            lambda: [Table(rows), f"cluster file: {file}\n"],
            lambda: documents.LabStatus(
                name=found.name, cluster=file, up=found.up, hosts=[documents.LabHost(**row) for row in rows]
            ),
        )
    )
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
