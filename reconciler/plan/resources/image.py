"""Describes base images: QCOW2 files on workers that the disks of VMs are overlays of."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from reconciler.plan.allocation.sizes import image_stem
from reconciler.plan.immutable import noun
from reconciler.plan.resources.base import FIXED, ROOT, GraphRole, Kind, Resource, Scope, Unit, address
from reconciler.spec.models.names import Address, HostName

if TYPE_CHECKING:
    from reconciler.plan.design import SharedDesign
    from reconciler.plan.snapshot import Claim
    from reconciler.spec.models.cluster import Cluster


@noun
class Image(Resource):
    """A base QCOW2 on a worker, shared by the overlays there. Its name contains its digest, so it never changes.

    When the file of an image is renewed, disks that exist stay on the earlier one, which stays on their workers.
    """

    kind: ClassVar[Kind] = Kind("image")
    scope: ClassVar[Scope] = Scope.SHARED
    unit: ClassVar[Unit] = Unit.HOST
    graph_role: ClassVar[GraphRole] = GraphRole.BASE
    summary: ClassVar[tuple[str, ...]] = ("path",)

    path: Annotated[str, FIXED]
    sha256: Annotated[str, FIXED]

    @classmethod
    def shared(cls, design: SharedDesign) -> Iterator[Self]:
        """Return each image once for each worker that has a VM of it; of an earlier file, the state has the digest."""
        images = design.cluster.images
        digests = {image_path(image_stem(design.cluster, name)): image.sha256 for name, image in images.items()}
        for entry in design.known.values():
            if isinstance(entry.resource, cls):
                digests.setdefault(entry.resource.path, entry.resource.sha256)
        for worker, stem in sorted({(vm.worker, vm.image) for vm in design.vms}):
            path = image_path(stem)
            where = image_address(stem, worker)
            yield cls(address=where, slice=None, host=worker, path=path, sha256=digests.get(path, ""))

    @classmethod
    def claimed(cls, cluster: Cluster, claims: Collection[Claim]) -> Iterator[Address]:
        """Return the images that VMs claim."""
        del cluster
        return (address(cls, claim.scope) for claim in claims if claim.kind == "image")

    @property
    def name_on_host(self) -> str:
        """Its path."""
        return self.path

    @property
    def content_digest(self) -> str:
        """The SHA-256 of its file."""
        return self.sha256


def image_path(stem: str) -> str:
    """Return the path of an image on workers, by the name of its file without suffix."""
    return f"{ROOT}/images/{stem}.qcow2"


def image_address(stem: str, worker: HostName) -> Address:
    """Return the address of an image on a worker."""
    return address(Image, f"{stem}@{worker}")
