"""The verb `state restore`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from reconciler.cli.options import AutoApprove
from reconciler.cli.questions import approved
from reconciler.cli.session import Session
from reconciler.state.locks.process import this_process
from reconciler.views.copies import copies_view, restore_warning, restored_view
from reconciler.workflow import state_copies

DECLINED = 1
"""The exit code if the answer was no."""


def restore(
    session: Session,
    copy: Annotated[
        str | None, typer.Argument(metavar="COPY", help="A copy as it is listed, or latest. (default: list them)")
    ] = None,
    *,
    auto_approve: AutoApprove = False,
) -> int:
    """Restore a copy of the state that was kept before an apply, or list the copies. Contacts no host.

    The last ten copies are kept beside the file of the state. The replaced state is saved, even if damaged. If applies
    followed the copy, the hosts are ahead of it, and apply says so: `state rebuild` recovers what they did.

    Examples:
      reconciler state restore
      reconciler state restore latest
    """
    cluster = session.inputs().cluster.cluster
    file = state_copies.state_file(cluster, session.state)
    if copy is None:
        session.show(copies_view(state_copies.kept_copies(cluster, file)))
        return 0
    found = state_copies.find_copy(cluster, file, copy)
    sys.stderr.write(restore_warning(found))
    if not approved("Restore it?", auto_approve=auto_approve):
        return DECLINED
    session.show(restored_view(state_copies.restore(cluster, file, found, this_process())))
    return 0
