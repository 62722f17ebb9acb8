"""Builds the graph of a slice: VMs are nodes, links are edges."""

from __future__ import annotations

from collections.abc import Iterable

import networkx as nx

from reconciler.plan.graph import ends
from reconciler.spec.models.names import LinkKey, VmName


def link_graph(links: Iterable[LinkKey]) -> nx.MultiGraph[VmName]:
    """Build the multigraph of links. Each edge has its link's key; VMs without links are left out."""
    graph: nx.MultiGraph[VmName] = nx.MultiGraph()
    for key in links:
        (one, _), (other, _) = ends(key)
        graph.add_edge(one, other, key=key)
    return graph
