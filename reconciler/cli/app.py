"""Puts the verbs together into one command; each verb is a function in a module of its subject."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from reconciler import __version__
from reconciler.cli import session
from reconciler.cli.commands import apply, files, gc, inspect, lab, state

_EXAMPLES = """
Describe network topologies in files, review what would change, and apply it to hosts.

[bold]Examples[/bold]

  reconciler init                        [dim]# a cluster file and a first slice[/dim]
  reconciler doctor                      [dim]# is every host ready?[/dim]
  reconciler plan slices/two-vms.yaml    [dim]# what would change; contacts no host[/dim]
  reconciler apply slices/two-vms.yaml   [dim]# apply it, after asking[/dim]
  reconciler show admin/two-vms          [dim]# addresses, VLANs, VNC[/dim]
  reconciler destroy admin/two-vms       [dim]# delete it from the hosts[/dim]
"""

_VERBS = (
    ("Files", files.init),
    ("Files", files.validate),
    ("Files", files.schema),
    ("Topologies", apply.plan),
    ("Topologies", apply.apply),
    ("Topologies", apply.destroy),
    ("Topologies", inspect.status),
    ("Topologies", inspect.show),
    ("State", state.history),
    ("State", state.unlock),
    ("Hosts", inspect.drift),
    ("Hosts", gc.gc),
    ("Hosts", inspect.verify),
    ("Hosts", inspect.doctor),
)


def command() -> Any:
    """Build the whole command line; the result has Click's `main`."""
    app = typer.Typer(
        help=_EXAMPLES,
        rich_markup_mode="rich",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback()(_globals)
    for panel, verb in _VERBS:
        app.command(rich_help_panel=panel)(session.with_session(verb))
    app.add_typer(state.app(), name="state", rich_help_panel="State")
    app.add_typer(lab.app(), name="lab", rich_help_panel="Hosts")
    return typer.main.get_command(app)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"reconciler {__version__}")
        raise typer.Exit


def _globals(  # noqa: PLR0913 - one parameter for each global option
    context: typer.Context,
    *,
    cluster: session.Cluster = None,
    state: session.State = None,
    json: session.Json = False,
    no_color: session.NoColor = False,
    verbose: session.Verbose = False,
    version: Annotated[  # noqa: ARG001 - its callback has printed it
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    context.obj = session.Session(cluster, state, json, no_color, verbose)
