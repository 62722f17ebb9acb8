"""The verb `lab`: a whole cluster on this machine."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from reconciler.cli.session import Session, with_session

Name = Annotated[str, typer.Option("--name", envvar="RECONCILER_LAB_NAME", help="Name of the lab.")]


def app() -> typer.Typer:
    """Build the group of lab verbs."""
    group = typer.Typer(no_args_is_help=True, help="Run a cluster on this machine, to try things out and to test.")
    group.command()(with_session(up))
    group.command()(with_session(down))
    group.command()(with_session(status))
    group.command("exec", context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False})(
        with_session(execute)
    )
    return group


def up(
    session: Session,
    name: Name = "lab",
    workers: Annotated[int, typer.Option("--workers", envvar="RECONCILER_LAB_WORKERS", help="Number of workers.")] = 3,
) -> None:
    """Start workers and a network node in namespaces of this machine, and print the path of their cluster file.

    [bold]Examples[/bold]

      reconciler lab up
      export RECONCILER_CLUSTER=$(reconciler lab up)
    """
    from reconciler import lab  # noqa: PLC0415

    info = lab.up(name, workers, report=_report)
    if session.json:
        session.print_json({"name": info.name, "cluster": str(info.cluster_file)})
    else:
        sys.stdout.write(f"{info.cluster_file}\n")


def down(session: Session, name: Name = "lab") -> None:
    """Remove a lab with all its processes, namespaces, interfaces, mounts and files.

    [bold]Example[/bold]

      reconciler lab down
    """
    from reconciler import lab  # noqa: PLC0415

    lab.down(name, report=_report)
    if session.json:
        session.print_json({"name": name, "up": False})


def status(session: Session, name: Name = "lab") -> int:
    """Show the hosts of a lab. Exits with 1 if one is down.

    [bold]Example[/bold]

      reconciler lab status
    """
    from reconciler import lab  # noqa: PLC0415
    from reconciler.cli.tables import table  # noqa: PLC0415

    found = lab.status(name)
    rows = [
        {"host": host.name, "address": host.address, "ssh": f"127.0.0.1:{host.port}", "pid": host.pid, "up": host.up}
        for host in found.hosts
    ]
    if session.json:
        session.print_json({"name": found.name, "cluster": str(found.cluster_file), "up": found.up, "hosts": rows})
    else:
        session.console().print(table(rows))
        sys.stdout.write(f"cluster file: {found.cluster_file}\n")
    return 0 if found.up else 1


def execute(
    session: Session,  # noqa: ARG001 - every verb is given one
    host: Annotated[str, typer.Argument(metavar="HOST", help="worker1, worker2, ..., or gateway.")],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND", help="Command to run there, as root.")],
    name: Name = "lab",
) -> int:
    """Run a command inside a host of a lab.

    [bold]Examples[/bold]

      reconciler lab exec worker1 -- ovs-vsctl show
      reconciler lab exec gateway -- ip netns
    """
    from reconciler import lab  # noqa: PLC0415

    return lab.exec_in(name, host, command[1:] if command[0] == "--" else command)


def _report(line: str) -> None:
    sys.stderr.write(f"{line}\n")
