"""Defines the documents that verbs print with --json. docs/schemas has the JSON Schema of each."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from reconciler.views.view import Document, Model


class Written(Document):
    """`init`: the files that were written."""

    written: list[str]


class Valid(Document):
    """`validate`: the cluster, and the slices of the files."""

    valid: bool
    cluster: str
    slices: list[str]


class Counts(Model):
    """How many changes of each sort a plan makes."""

    add: int
    change: int
    replace: int
    destroy: int
    restarts: int
    interrupted: int
    lost: int
    renamed: int


class Attribute(Model):
    """One attribute that a change alters."""

    name: str
    before: Any
    after: Any
    policy: str


class ChangeDetail(Model):
    """The actions of a change, and the resource before and after it."""

    actions: list[str]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class ResourceChange(Model):
    """One change of a plan."""

    address: str
    type: str
    slice: str | None
    host: str
    change: ChangeDetail
    reason: str
    data_lost: bool
    attributes: list[Attribute]


class Disturbed(Model):
    """A VM that a plan does not change but disturbs."""

    address: str
    reason: str


class PlanStep(Model):
    """One step of a plan; `needs` are the ids of the steps before it."""

    id: int
    action: str
    address: str
    host: str
    needs: list[int]


class Simulated(Model):
    """The result of `plan --rehearse`: how many interruption points there are, and how many were simulated."""

    moments: int
    played: int
    scenes: int
    complete: bool
    seconds: float


class UnknownHost(Model):
    """A host that could not be read, why, and how many resources of the state are unknown for that."""

    host: str
    reason: str
    vms: int
    resources: int


class CordonedHost(Model):
    """A host that takes no new VMs, who decided that, and when."""

    host: str
    user: str
    since: str


class PlanDocument(Document):
    """`plan`, and `show` for a saved plan.

    `restart_pending` has the addresses of VMs that run as an earlier version started them, until their next start.
    """

    tool_version: str
    lineage: str
    serial: int
    inputs: dict[str, str]
    slices: list[str]
    summary: str
    counts: Counts
    resource_changes: list[ResourceChange]
    disturbed: list[Disturbed]
    restart_pending: list[str]
    steps: list[PlanStep]
    allocations: dict[str, dict[str, Any]]
    hosts_unknown: list[UnknownHost] = Field(default_factory=list)
    hosts_cordoned: list[CordonedHost] = Field(default_factory=list)


class SimulatedPlanDocument(PlanDocument):
    """`plan --rehearse`."""

    rehearsal: Simulated


class Step(Model):
    """One step of an apply."""

    id: int
    action: str
    address: str
    host: str


class DoneStep(Step):
    """A step that is done; `adopted` says that its resource was there already when it was to be created."""

    adopted: bool


class FailedStep(Step):
    """A step that failed or whose result is unknown; `words` is the message of the host."""

    words: str


class SkippedStep(Step):
    """A step that was skipped because a step before it did not succeed."""

    reason: str


class LostHost(Model):
    """A host that the apply gave up."""

    host: str
    words: str
    hint: str | None


class Applied(Document):
    """`apply` and `destroy`, if there was nothing to do or the plan was declined."""

    approved: bool
    ok: bool
    slices: list[str]
    changed: bool
    hosts_unknown: list[UnknownHost] = Field(default_factory=list)


class AppliedChanges(Applied):
    """`apply` and `destroy`, if steps were performed."""

    renumbered: bool
    seconds: float
    counts: dict[str, int]
    done: list[DoneStep]
    failed: list[FailedStep]
    unknown: list[FailedStep]
    skipped: list[SkippedStep]
    not_started: list[Step]
    lost: str | None
    hosts_lost: list[LostHost]


class Nic(Model):
    """One NIC of a VM; `vlan` is null if it is not connected, `ip` if DHCP reserves no address for it."""

    name: str
    mac: str
    tap: str
    vlan: int | None
    ip: str | None


class SliceConsoles(Model):
    """The commands that reach the screen and the serial port of a VM over SSH."""

    vnc: str
    serial: str


class SliceVm(Model):
    """One VM of a slice; `vnc` is an address on the loopback of its worker, `serial` a socket there.

    `consoles` is null in `status`, and if the cluster file does not have its worker.

    `health` is what its worker says of it: healthy, missing, the run state of a guest that does not run, or unknown.
    It is null if the worker was not asked. `restart_pending` says that an earlier version started its process in
    another way than this one does at its next start.
    """

    name: str
    health: str | None = None
    id: int
    worker: str
    status: str
    vcpus: int
    memory: int
    image: str
    disk: str
    vnc: str
    serial: str
    restart_pending: bool
    consoles: SliceConsoles | None = None
    nics: list[Nic]


class SliceLink(Model):
    """One link of a slice."""

    key: str
    id: int
    vlan: int
    subnet: str
    gateway: str | None
    status: str


class SliceDocument(Document):
    """`show`, and an entry of `status`."""

    slice: str
    id: int
    pool: list[str]
    sync: str
    vms: list[SliceVm]
    links: list[SliceLink]


class Place(Model):
    """An object on a host."""

    address: str
    host: str
    thing: str


class Orphan(Place):
    """An orphan; `record` says whose it is, and `records` has the lineages of other states that may own it."""

    slice: str | None
    record: str
    records: list[str]
    used_by: list[Place]


class Unread(Model):
    """A host, or one kind of object on it, that could not be read."""

    host: str
    what: str
    words: str


class DriftedAttribute(Model):
    """One attribute that differs between the state and the host."""

    name: str
    recorded: Any
    observed: Any


class DriftedResource(Model):
    """One resource that differs from the state."""

    address: str
    host: str
    kind: str
    attributes: list[DriftedAttribute]
    words: str


class DriftDocument(Document):
    """`drift`."""

    resources: int
    resource_drift: list[DriftedResource]
    orphans: list[Orphan]
    unread: list[Unread]


class DecidedOrphan(Orphan):
    """An orphan, and what `gc` does with it."""

    fate: str
    first_seen: str | None
    seen_before: int


class ResourcePlace(Model):
    """A resource and its host."""

    address: str
    host: str


class GcDocument(Document):
    """`gc`."""

    ok: bool
    approved: bool
    orphans: list[DecidedOrphan]
    unread: list[Unread]
    removed: list[ResourcePlace]
    failed: list[ResourcePlace]
    skipped: list[ResourcePlace]


class Violation(Model):
    """One difference between the live network and the declared one."""

    kind: str
    ends: list[str]
    words: str
    path: list[str]


class Routed(Model):
    """How many declared pairs packets pass between through routers, and how many undeclared pairs they do not."""

    present: int
    absent: int


class Probed(Model):
    """How many NICs replied to ARP, and which did not."""

    answered: int
    silent: list[str]


class VerifyDocument(Document):
    """`verify`."""

    proved: bool
    present: int
    absent: int
    dropped: int
    violations: list[Violation]
    routed: Routed
    probed: Probed | None


class Check(Model):
    """One check of a host."""

    check: str
    verdict: str
    found: str
    remedy: str | None


class CheckedHost(Model):
    """The checks of one host; `host` is null for checks of this machine."""

    host: str | None
    fit: bool
    checks: list[Check]


class DoctorDocument(Document):
    """`doctor`; `state` is the place of the state. `ownership` is why hosts refuse to work for it, null if they do."""

    fit: bool
    hosts: list[CheckedHost]
    hosts_cordoned: list[CordonedHost] = Field(default_factory=list)
    state: str
    ownership: str | None


class Holder(Model):
    """A process that holds a lock or ran an apply."""

    user: str
    host: str
    pid: int


class HistoryDocument(Document):
    """An entry of `history`; times are UTC. `verb` is apply, destroy, evacuate, gc, rebuild or replace-host."""

    id: int
    verb: str
    slices: list[str]
    holder: Holder
    started: str
    finished: str | None
    result: str
    digest: str
    done: int
    failed: int
    skipped: int


class HistoryStep(Document):
    """An entry of `history APPLY`; times are UTC."""

    step: int
    action: str
    address: str
    host: str
    outcome: str | None
    words: str | None
    intended: str
    recorded: str | None


class FreeLock(Document):
    """`unlock`, if the lock was free."""

    lock: str
    unlocked: bool


class RemovedLock(FreeLock):
    """`unlock`, if the lock was held; `seems` says whether its holder seems to be at work."""

    holder: Holder
    since: str
    last_sign_of_life: str
    seems: str


class StateEntry(Document):
    """An entry of `state list`."""

    address: str
    host: str
    status: str


class StateResource(StateEntry):
    """`state show`: a resource, and what an unfinished step was to make of it."""

    attributes: dict[str, Any]
    pending: dict[str, Any] | None


class Exported(Document):
    """`state export -o FILE`."""

    lineage: str
    serial: int
    resources: int
    written: str


class Imported(Document):
    """`state import`; `kept` is the copy of the state that was replaced."""

    lineage: str
    serial: int
    resources: int
    imported: str
    kept: str | None


class Forgotten(Document):
    """`state forget` and `forget`."""

    forgotten: list[ResourcePlace]


class HostDocument(Document):
    """An entry of `hosts`; sizes are in bytes. `disks` are the sizes of the disks of its VMs.

    `disk_used` and `disk_free` are of their file system; null if the host was not read, as `reason` says.
    """

    host: str
    state: str
    vms: int
    vcpus: int
    memory: int
    disks: int
    disk_used: int | None
    disk_free: int | None
    slices: list[str]
    cordoned_by: str | None
    cordoned_since: str | None
    reason: str | None


class CordonDocument(Document):
    """`cordon` and `uncordon`; `user` and `since` are of the cordon that the host has, or had, if any."""

    host: str
    cordoned: bool
    user: str | None
    since: str | None


class LabUp(Document):
    """`lab up`."""

    name: str
    cluster: str


class LabDown(Document):
    """`lab down`."""

    name: str
    up: bool


class LabHost(Model):
    """One host of a lab."""

    host: str
    address: str
    ssh: str
    pid: int | None
    up: bool
    login_error: str | None


class LabStatus(LabUp):
    """`lab status`; `up` means that every host is up and can be logged in to, else `remedy` is a command."""

    up: bool
    remedy: str | None
    hosts: list[LabHost]


class Problem(Model):
    """One problem, and its place in a file."""

    code: str
    summary: str
    file: str | None
    line: int | None
    column: int | None
    hint: str | None


class ErrorDetail(Model):
    """An error with all its problems."""

    code: str
    summary: str
    problems: list[Problem]


class ErrorDocument(Document):
    """What any verb prints if it fails."""

    error: ErrorDetail


class CommentDocument(Document):
    """`comment`: what happened to the comment and to the commit status, and where the comment is.

    `comment` is `outdated` if the commit is not the latest one of the review, so that nothing was posted.
    """

    site: str
    comment: Literal["created", "edited", "unchanged", "outdated"] | None
    url: str | None
    superseded: int
    status: Literal["pending", "success", "failure", "error"] | None
