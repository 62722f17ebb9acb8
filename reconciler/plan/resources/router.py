"""Describes routers: network namespaces on the network node that join the routed links of one slice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from reconciler.plan.immutable import noun
from reconciler.plan.resources.base import FIXED, LIVE, Kind, Resource, address

if TYPE_CHECKING:
    from reconciler.plan.design import SliceDesign


AS_WRITTEN = "as written"
"""What the configuration of a DHCP server is unless somebody, or an earlier version, wrote another one."""


@noun
class Router(Resource):
    """A network namespace of one slice on the network node. It forwards between its segments and nowhere else.

    `dhcp_options` is whether its DHCP server has the configuration that all our servers share, and gets requests only
    of a NIC for itself.
    """

    kind: ClassVar[Kind] = Kind("router")
    verified: ClassVar[bool] = True
    summary: ClassVar[tuple[str, ...]] = ("namespace",)

    namespace: Annotated[str, FIXED]
    dhcp_options: Annotated[str, LIVE] = AS_WRITTEN

    @classmethod
    def desired(cls, design: SliceDesign) -> Iterator[Self]:
        """Return the slice's router, where a link of it needs one."""
        if design.routed:
            yield cls(address=address(cls, design.key), slice=design.key, host=design.node, namespace=design.namespace)

    @property
    def name_on_host(self) -> str:
        """Its namespace."""
        return self.namespace
