"""Lists the verbs and builds the command line. A verb's module is imported when the verb is called."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from reconciler import __version__
from reconciler.cli import global_options
from reconciler.cli.help import Verb, group

_HELP = """
Describe virtual network topologies in YAML, see what would change, and make the hosts match.

Examples:

  reconciler init                        # write a cluster file and a first slice
  reconciler doctor                      # check that every host is ready
  reconciler plan slices/two-vms.yaml    # show what would change; contacts no host
  reconciler apply slices/two-vms.yaml   # make the changes, after a question
  reconciler show admin/two-vms          # show addresses, VLANs and VNC ports
  reconciler destroy admin/two-vms       # delete the slice again
"""

_COMMANDS = "reconciler.cli.commands"
VERBS = (
    Verb("init", "Files", f"{_COMMANDS}.files", "init", "Write a cluster file, a first slice and their JSON Schemas."),
    Verb("validate", "Files", f"{_COMMANDS}.files", "validate", "Report every problem in the files."),
    Verb("schema", "Files", f"{_COMMANDS}.files", "schema", "Print the JSON Schema of slice or cluster files."),
    Verb("plan", "Topologies", f"{_COMMANDS}.plan", "plan", "Show what apply would change, and why."),
    Verb(
        "preview",
        "Topologies",
        f"{_COMMANDS}.preview",
        "preview",
        "Show what merging a branch of a Git repository would change.",
    ),
    Verb("comment", "Topologies", f"{_COMMANDS}.comment", "VERBS", "Post a preview to GitHub or GitLab."),
    Verb("apply", "Topologies", f"{_COMMANDS}.apply", "apply", "Make the hosts match the files."),
    Verb("destroy", "Topologies", f"{_COMMANDS}.apply", "destroy", "Delete slices from the hosts and the state."),
    Verb("status", "Topologies", f"{_COMMANDS}.slices", "status", "List the slices in the state."),
    Verb("show", "Topologies", f"{_COMMANDS}.slices", "show", "Show one slice in detail, or a saved plan."),
    Verb("history", "State", f"{_COMMANDS}.state", "history", "List the latest applies, or the steps of one."),
    Verb("unlock", "State", f"{_COMMANDS}.state", "unlock", "Remove the lock of a slice."),
    Verb("state", "State", f"{_COMMANDS}.state", "VERBS", "Inspect, export, import and correct the state."),
    Verb("drift", "Hosts", f"{_COMMANDS}.hosts", "drift", "Compare the hosts with the state, and list orphans."),
    Verb("gc", "Hosts", f"{_COMMANDS}.gc", "gc", "Delete orphans: objects with our tag that are not in the state."),
    Verb("verify", "Hosts", f"{_COMMANDS}.hosts", "verify", "Verify that the network carries the declared links only."),
    Verb("hosts", "Hosts", f"{_COMMANDS}.hosts", "hosts", "List the hosts: state, VMs, space, and slices."),
    Verb("cordon", "Hosts", f"{_COMMANDS}.cordons", "cordon", "Place no new VMs on a worker."),
    Verb("uncordon", "Hosts", f"{_COMMANDS}.cordons", "uncordon", "Place new VMs on a worker again."),
    Verb("evacuate", "Hosts", f"{_COMMANDS}.evacuate", "evacuate", "Move all VMs with their disks to other workers."),
    Verb(
        "replace-host",
        "Hosts",
        f"{_COMMANDS}.replace_host",
        "replace_host",
        "Replace a host with a new machine; its VMs go there.",
    ),
    Verb(
        "forget", "Hosts", f"{_COMMANDS}.state", "forget_host", "Remove a host that does not come back from the state."
    ),
    Verb("doctor", "Hosts", f"{_COMMANDS}.hosts", "doctor", "Check that every host is ready for slices."),
    Verb("lab", "Hosts", f"{_COMMANDS}.lab", "VERBS", "Run a whole cluster on this machine, for demos and tests."),
)


def command() -> Any:
    """Build the whole command line; the result has Click's `main`."""
    return group(VERBS, _HELP, _globals)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"reconciler {__version__}")
        raise typer.Exit


def _globals(  # noqa: PLR0913 - one parameter for each global option
    context: typer.Context,
    *,
    cluster: global_options.Cluster = None,
    state: global_options.State = None,
    slice_folder: global_options.SliceFolder = None,
    json: global_options.Json = False,
    no_color: global_options.NoColor = False,
    verbose: global_options.Verbose = False,
    version: Annotated[  # noqa: ARG001 - its callback has printed it
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    context.obj = global_options.GlobalOptions(cluster, state, slice_folder, json, no_color, verbose)
