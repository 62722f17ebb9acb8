"""Plans the slices of several clusters in this one process, and prints how long each part took as JSON."""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from reconciler import interpreter


def main(folders: list[Path]) -> None:
    """Plan each folder's slices as `reconciler plan` does up to printing.

    The state of a folder is the file of its name that ends in .db; without that file it is empty. Without
    RECONCILER_CACHE_DIR nothing is cached: every file is parsed, and every slice compared.
    """
    started = perf_counter()
    interpreter.set_up()
    from reconciler import workflow  # noqa: PLC0415 - its cost is part of what is measured
    from reconciler.state.reader import read_state  # noqa: PLC0415

    cached = "RECONCILER_CACHE_DIR" in os.environ
    seconds = {"imports": perf_counter() - started, "load": 0.0, "plan": 0.0}
    steps = vms = links = 0
    for folder in folders:
        begun = perf_counter()
        cluster = folder / "cluster.yaml"
        inputs = workflow.load(cluster, [folder], documents=workflow.document_cache(cluster) if cached else None)
        loaded = perf_counter()
        state = folder.with_suffix(".db")
        with closing(read_state(state, cluster=folder.name, clock=lambda: datetime.now(UTC))) as reader:
            if cached:
                memory = workflow.settled_slices(cluster)
                planned = workflow.plan_unsettled(inputs, reader, workflow.NOTHING_ELSE, memory)
            else:
                planned = workflow.plan(inputs, reader)
        seconds["load"] += loaded - begun
        seconds["plan"] += perf_counter() - loaded
        steps += len(planned.steps)
        vms += sum(len(given.vms) for given in planned.allocations.values())
        links += sum(len(given.links) for given in planned.allocations.values())
    interpreter.leave()
    json.dump({"seconds": seconds, "steps": steps, "vms": vms, "links": links}, sys.stdout)


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
