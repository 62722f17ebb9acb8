"""Describes every kind of resource that can exist on a host, one module for each kind."""

from reconciler.plan.immutable import noun
from reconciler.plan.resources.base import ROOT, GraphRole, Kind, Resource, Scope, Unit, Use, address, of_kind
from reconciler.plan.resources.disk import Disk
from reconciler.plan.resources.image import Image
from reconciler.plan.resources.port import Port
from reconciler.plan.resources.registry import KINDS, Registry, attributes, from_data, plain, to_data
from reconciler.plan.resources.reservation import Reservation
from reconciler.plan.resources.router import Router
from reconciler.plan.resources.seed import Seed
from reconciler.plan.resources.segment import Lease, Segment
from reconciler.plan.resources.station import Station, StationRole
from reconciler.plan.resources.trunk import GATEWAY_MAC, Trunk
from reconciler.plan.resources.uplink import Uplink
from reconciler.plan.resources.vm import Nic, Vm

__all__ = [
    "GATEWAY_MAC",
    "KINDS",
    "ROOT",
    "Disk",
    "GraphRole",
    "Image",
    "Kind",
    "Lease",
    "Nic",
    "Port",
    "Registry",
    "Reservation",
    "Resource",
    "Router",
    "Scope",
    "Seed",
    "Segment",
    "Station",
    "StationRole",
    "Trunk",
    "Unit",
    "Uplink",
    "Use",
    "Vm",
    "address",
    "attributes",
    "from_data",
    "noun",
    "of_kind",
    "plain",
    "to_data",
]
