"""The verb `state rebuild`."""

from __future__ import annotations

from reconciler.cli.engines import open_engine
from reconciler.cli.interrupt import Runs
from reconciler.cli.options import PARALLELISM, AutoApprove
from reconciler.cli.questions import confirm, require_approval
from reconciler.cli.session import Session
from reconciler.engine import ignore
from reconciler.errors import PlanError
from reconciler.views.rebuild import found_blocks, nothing_view, rebuilt_view
from reconciler.workflow import rebuild as workflow
from reconciler.workflow.state_admin import backup_place

DECLINED = 1
"""The exit code if the answer was no."""


def rebuild(session: Session, *, auto_approve: AutoApprove = False) -> int:
    """Rebuild a lost or outdated state from what the hosts keep and have, after showing it. Changes no VM or network.

    Each host keeps copies of the slices that have something there. The newest copies become the state, as far as the
    hosts really have what they say. A state that is not empty is continued, and saved in a file first. Hosts that
    belonged to another state belong to this one afterwards, so make sure that nobody uses the other one.

    Examples:
      reconciler state rebuild
      reconciler --state new.db state rebuild --auto-approve
    """
    require_approval(auto_approve=auto_approve, hint="review what is found, then add --auto-approve")
    inputs = session.inputs()
    with Runs() as runs, session.store(inputs.cluster) as store:
        opened = open_engine(session, inputs.cluster.cluster, ignore, runs.stop, parallelism=PARALLELISM)
        with runs.entered(opened) as engine:
            found = runs.run(workflow.examine(engine, inputs, store))
            if not found.changed:
                session.show(nothing_view(found))
                return 1 if found.unread else 0
            if not found.slices and found.unread:
                raise PlanError(
                    f"no slice was found, and {', '.join(sorted(found.unread))} could not be read",
                    hint="the state was not changed; make the hosts reachable, then try again",
                )
            if not auto_approve:
                session.ask_about(found_blocks(found))
                if not confirm("Write this state?"):
                    return DECLINED
            else:
                session.remark(found_blocks(found))
            backup = backup_place(inputs.cluster.cluster, session.state)
            done = runs.run(workflow.perform(engine, inputs, store, found, backup))
    session.show(rebuilt_view(done))
    return 1 if done.untold or found.unread else 0
