"""Checks that every host is ready for slices, and that the local files of the images are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from reconciler.apply.observation.doctor import Examination, examine, examine_here
from reconciler.apply.transport.connection import Connector
from reconciler.workflow.load import Inputs, image_files


async def examine_cluster(
    inputs: Inputs, connector: Connector, wall: Callable[[], float] = time.time
) -> Sequence[Examination]:
    """Examine every host, and the local files of the images; reads only, one batch per host."""
    cluster = inputs.cluster.cluster
    hosts = await examine(cluster, connector, wall)
    here = await asyncio.to_thread(examine_here, cluster.images, image_files(inputs.cluster), hosts)
    return (*hosts, here) if here.findings else hosts
