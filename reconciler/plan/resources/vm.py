"""Describes VMs: QEMU processes with their NICs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from reconciler.plan.immutable import immutable, noun
from reconciler.plan.resources.base import FIXED, LIVE, RESTART, GraphRole, Kind, Resource, Unit, Use, address
from reconciler.plan.resources.disk import Disk
from reconciler.plan.resources.image import image_address
from reconciler.plan.resources.port import Port, port_address
from reconciler.plan.resources.reservation import Reservation, reservation_address
from reconciler.plan.resources.seed import Seed
from reconciler.plan.resources.segment import Segment, lease_text, segment_address
from reconciler.plan.resources.trunk import Trunk, trunk_of
from reconciler.plan.resources.uplink import Uplink
from reconciler.spec.models import slice as spec
from reconciler.spec.models.cluster import SERIAL_LOG
from reconciler.spec.models.fields import update_policy
from reconciler.spec.models.names import Address, Bytes, VmId

if TYPE_CHECKING:
    from reconciler.plan.design import SliceDesign, VmDesign
    from reconciler.plan.model import Change


RUNNING = "running"
"""The run state of a guest whose processors run."""

STOPPED = frozenset({"paused", "io-error", "watchdog"})
"""The run states of guests that go on where they stopped. Those in other states are started again."""

LAUNCH = "179e0f06148b"
"""Identifies how this version starts QEMU: a digest of command lines, which a test computes."""


@immutable
class Nic:
    """One NIC of a VM, in the order in which the guest numbers them."""

    tap: str
    mac: str


@noun
class Vm(Resource):
    """One QEMU process. `directory` contains its pidfile and sockets; `vnc` is a TCP port on the host's loopback.

    `cloud_init` is the digest of its seed's user-data, or None without a seed. `run_state` is what QEMU says of the
    guest: it may be paused, or stopped by an error, while its process exists. `serial_log` is how many bytes of its
    host's disk the log of its serial port takes at most; another number holds from its next start on. `leases` has what
    DHCP tells each NIC, None where it tells nothing. If that changes, the guest is made to ask again. It is None in
    states of earlier versions. `uid` is the user, and the group, that its process has from its next start on; 0, which
    is root, in states of earlier versions. `launch` identifies how its process was started, as LAUNCH does; empty in
    such states.
    """

    kind: ClassVar[Kind] = Kind("vm")
    unit: ClassVar[Unit] = Unit.VM
    graph_role: ClassVar[GraphRole] = GraphRole.NODE
    runtime: ClassVar[bool] = True
    follows: ClassVar[frozenset[Kind]] = frozenset({Trunk.kind})
    may_precede: ClassVar[frozenset[Kind]] = frozenset({Segment.kind, Reservation.kind})
    summary: ClassVar[tuple[str, ...]] = ("vm_id", "vcpus", "memory", "vnc")
    sizes: ClassVar[frozenset[str]] = frozenset({"memory", "serial_log"})
    secrets: ClassVar[frozenset[str]] = frozenset({"cloud_init"})
    nested: ClassVar[Mapping[str, type]] = {"nics": Nic}

    vm_id: Annotated[VmId, FIXED]
    directory: Annotated[str, FIXED]
    disk: Annotated[str, FIXED]
    vcpus: Annotated[int, update_policy(spec.Vm, "vcpus")]
    memory: Annotated[Bytes, update_policy(spec.Vm, "memory")]
    nics: Annotated[tuple[Nic, ...], update_policy(spec.Vm, "interfaces")]
    vnc: Annotated[int, RESTART]
    accelerator: Annotated[str, RESTART]
    cloud_init: Annotated[str | None, update_policy(spec.Vm, "cloud_init")] = None
    run_state: Annotated[str, LIVE] = RUNNING
    serial_log: Annotated[Bytes, LIVE] = SERIAL_LOG
    leases: Annotated[tuple[str | None, ...] | None, LIVE] = None
    uid: int = field(default=0, compare=False)
    launch: str = field(default="", compare=False)

    @classmethod
    def desired(cls, design: SliceDesign) -> Iterator[Self]:
        """Return each VM. It starts once its host is ready; its guest asks for addresses until the network node is."""
        accelerator, limits = design.cluster.accelerator, design.cluster.limits
        leases = _leases(design)
        for vm in design.vms:
            ports = [port_address(nic) for nic in vm.nics]
            seed = () if vm.user_data is None else (address(Seed, vm.label),)
            yield cls(
                address=address(cls, vm.label),
                slice=design.key,
                host=vm.host,
                needs=(address(Disk, vm.label), *seed, *ports),
                after=_before(design, vm),
                vm_id=vm.given.id,
                directory=vm.directory,
                disk=vm.disk_path,
                vcpus=vm.given.vcpus,
                memory=vm.given.memory,
                nics=tuple([Nic(nic.tap, nic.mac) for nic in vm.nics]),
                vnc=vm.given.vnc,
                accelerator=accelerator,
                cloud_init=vm.user_data,
                serial_log=limits.serial_log,
                leases=tuple([leases.get(nic.mac) for nic in vm.nics]),
                uid=design.cluster.first_uid + vm.given.id,
                launch=LAUNCH,
            )

    @classmethod
    def interrupts_link(cls, change: Change, nic: int) -> bool:
        """Whether the VM stops, permanently or for a restart, or the NIC has to ask for its address again."""
        if not change.in_place or change.restarts:
            return True
        return (
            isinstance(change.before, Vm)
            and isinstance(change.after, Vm)
            and nic in change.after.asks_again(change.before)
        )

    def asks_again(self, before: Vm) -> tuple[int, ...]:
        """Return the numbers of the NICs to which DHCP tells something else than before."""
        pairs = zip(before.leases or (), self.leases or (), strict=False)
        return tuple([nic for nic, (had, gets) in enumerate(pairs) if had != gets])

    def completed(self, find: Callable[[Address], Resource | None]) -> Self:
        """Return it with the leases that its segments and its reservation had, where the state does not have them."""
        if self.leases is not None:
            return self
        told: dict[str, str] = {}
        for one in map(find, self.after):
            if isinstance(one, Segment):
                told.update(one.lease_texts())
            elif isinstance(one, Reservation):
                for uplink in map(find, one.needs):
                    if isinstance(uplink, Uplink):
                        told[one.mac] = lease_text(one.ip, uplink.ip, default_route=True)
        return replace(self, leases=tuple([told.get(nic.mac) for nic in self.nics]))

    def merged(self, pending: Resource | None) -> Self:
        """Return it without the leases that were about to change: these NICs may have lost their link meanwhile."""
        if not isinstance(pending, Vm) or not (self.leases and pending.leases):
            return self
        changing = pending.asks_again(self)
        return replace(self, leases=tuple([None if nic in changing else had for nic, had in enumerate(self.leases)]))

    def as_updated(self, change: Change) -> Resource:
        """Return it with the launch of its process where that goes on."""
        goes_on = all(
            item.name in {"serial_log", "leases"} or (item.name == "run_state" and item.before in STOPPED)
            for item in change.attributes
        )
        return replace(self, launch=change.before.launch) if goes_on and isinstance(change.before, Vm) else self

    @property
    def restart_pending(self) -> bool:
        """Whether its process was started in another way than this version starts it."""
        return self.launch != LAUNCH

    @property
    def seed(self) -> str:
        """The path of its seed on the host, where it has one."""
        return f"{self.directory}/seed.iso"

    @property
    def network_seed(self) -> str:
        """The path of the disk that a VM without user-data gets instead: it has only its name and its network."""
        return f"{self.directory}/network.iso"

    @property
    def hostname(self) -> str:
        """The name of its guest."""
        return self.address.rpartition("/")[2]

    @property
    def serial(self) -> str:
        """The path of the serial console's socket on the host."""
        return f"{self.directory}/serial.sock"

    @property
    def name_on_host(self) -> str:
        """Its directory."""
        return self.directory

    def uses(self) -> Iterator[Use]:
        """Return its disk, its seed and its TAPs."""
        yield Use(Disk.kind, self.disk)
        yield Use(Seed.kind, self.seed, certain=self.cloud_init is not None)
        yield from (Use(Port.kind, nic.tap) for nic in self.nics)

    def conflict(self, other: Resource) -> str | None:
        """Return why another VM or seed is in its way: the VNC port, or a seed of other user-data."""
        if isinstance(other, Vm) and other.vnc == self.vnc:
            return f"VNC port {self.vnc} is taken by {other.address}"
        if isinstance(other, Seed) and other.path == self.seed and self.cloud_init not in {None, other.cloud_init}:
            return f"{other.address} is of other user-data"
        return None

    def unique_numbers(self) -> Iterator[str]:
        """Return its VNC port on its host."""
        yield f"VNC port {self.vnc} of {self.host}"


def _leases(design: SliceDesign) -> dict[str, str]:
    """Return what DHCP tells each NIC of a slice that gets a lease, by its MAC."""
    told = {mac: text for segment in Segment.desired(design) for mac, text in segment.lease_texts()}
    internet = design.cluster.internet
    router = f"{internet.gateway}/{internet.subnet.prefixlen}"
    for vm in design.vms:
        if vm.given.internet is not None:
            told[vm.nics[0].mac] = lease_text(vm.given.internet, router, default_route=True)
    return told


def _before(design: SliceDesign, vm: VmDesign) -> tuple[Address, ...]:
    segments = [segment_address(design, nic.link_key) for nic in vm.nics if nic.link_key in design.routed]
    reservation = () if vm.given.internet is None else (reservation_address(vm),)
    return (image_address(vm.given.image, vm.host), *segments, *reservation, *trunk_of(design, vm.host))
