"""Many resources are observed with one read-only batch for each host; drift is the difference from the state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from reconciler.apply.drivers.driver import Found, Survey, SurveyTarget
from reconciler.apply.observation.drift import AttributeDrift, Drift, DriftKind, find_drift
from reconciler.apply.observation.observe import observe
from reconciler.apply.observation.orphans import Owner, Unread, find_orphans, unread
from reconciler.apply.transport.command import Command, Result, script
from reconciler.spec.models.names import HostName
from tests.apply.files import DRIVERS, Blob, File, file
from tests.apply.localhost import Localhosts

W1, W2 = HostName("worker1"), HostName("worker2")


async def test_many_resources_take_one_batch_for_each_host(hosts: Localhosts) -> None:
    resources = [file(hosts.folder(host), f"f{n}") for host in (W1, W2) for n in range(50)]
    (hosts.folder(W1) / "f7").write_text("here")

    observed = await observe(hosts, resources, DRIVERS)

    assert [(sent.host, sent.probe) for sent in sorted(hosts.sent, key=lambda sent: sent.host)] == [
        (W1, True),
        (W2, True),
    ]
    assert len(observed.facts) == 100
    assert [place for place, found in observed.attributes.items() if found is not None] == [
        (W1, resources[7].address),
    ]


async def test_a_survey_is_in_the_batch_of_the_probes_and_finds_other_objects(hosts: Localhosts) -> None:
    known, lost = file(hosts.folder(W1), "known"), file(hosts.folder(W2), "lost")
    for one in (known, lost):
        (hosts.folder(one.host) / one.address.partition("/")[2]).write_text("here")
    fence = hosts.folder(W2) / "root" / "fence"
    fence.mkdir(parents=True)
    (fence / "5f0e").write_text("7 alice/lab1\n9 @shared\n")
    (fence / "5f0e.new").write_text("8 bob/lab2\n")
    drivers = {**DRIVERS, File.kind: replace(DRIVERS[File.kind], survey=survey_of(hosts))}

    observed = await observe(hosts, [known], drivers, surveyed=[SurveyTarget(W1, "br"), SurveyTarget(W2, "br")])

    assert sorted((sent.host, sent.probe) for sent in hosts.sent) == [(W1, True), (W2, True)]
    assert set(observed.facts) == {(W1, known.address)}
    assert [found.resource.address for found in observed.surveys[W1].found] == [known.address]
    assert observed.surveys[W2].fences == {"5f0e": {"alice/lab1": 7, "@shared": 9}}
    (orphan,) = find_orphans(observed, [known], "5f0e", drivers)
    assert (orphan.key, orphan.owner, orphan.lineages) == ((W2, lost.address, str(lost.path)), Owner.OURS, ())
    (other,) = find_orphans(observed, [known], "beef", drivers)
    assert (other.owner, other.lineages) == (Owner.OTHER, ("5f0e",))


async def test_what_a_survey_cannot_read_is_said_and_hides_nothing(hosts: Localhosts) -> None:
    broken = replace(survey_of(hosts), commands=(script("echo no such switch >&2; exit 1"),))
    drivers = {**DRIVERS, File.kind: replace(DRIVERS[File.kind], survey=broken)}
    hosts.down = {W2}
    observed = await observe(
        hosts, [file(hosts.folder(W1), "a")], drivers, surveyed=[SurveyTarget(W1, "br"), SurveyTarget(W2, "br")]
    )
    assert len(observed.facts) == 1
    assert unread(observed) == (
        Unread(W1, "file", "no such switch"),
        Unread(W2, "all", "it refuses connections"),
    )


def survey_of(hosts: Localhosts) -> Survey[File]:
    """Survey a host's folder: its files are all there is of ours."""

    def parse(target: SurveyTarget, results: Sequence[Result]) -> Iterator[Found]:
        folder = hosts.folder(target.host)
        names = set(results[0].output.split()) & {"known", "lost"}
        return (Found(file(folder, name)) for name in sorted(names) if (folder / name).exists())

    return Survey((Command(("ls", *(str(hosts.folder(host)) for host in (W1, W2)))),), parse, lambda one: one.path)


async def test_one_address_on_two_hosts_is_two_places(hosts: Localhosts) -> None:
    old, new = file(hosts.folder(W1), "moving"), file(hosts.folder(W2), "moving")
    (hosts.folder(W2) / "moving").write_text("here")
    observed = await observe(hosts, [old, new], DRIVERS)
    assert observed.attributes == {(W1, old.address): None, (W2, new.address): {"line": "here"}}


async def test_drift_is_missing_changed_or_unreachable(hosts: Localhosts) -> None:
    folder = hosts.folder(W1)
    fine, gone, changed, far = (*(file(folder, name) for name in ("a", "b", "c")), file(hosts.folder(W2), "d"))
    (folder / "a").write_text("here")
    (folder / "c").write_text("by hand")
    hosts.down = {W2}

    drift = find_drift([fine, gone, changed, far], await observe(hosts, [fine, gone, changed, far], DRIVERS))

    assert drift == (
        Drift(gone.address, W1, DriftKind.MISSING),
        Drift(changed.address, W1, DriftKind.CHANGED, (AttributeDrift("line", "here", "by hand"),)),
        Drift(far.address, W2, DriftKind.UNREACHABLE, message="it refuses connections"),
    )


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (script("echo the switch is down >&2; exit 1"), "the switch is down"),
        (Command(("echo", "nonsense")), "the output of the probe of blobs cannot be parsed"),
        (script("head -c 9000000 /dev/zero | tr '\\0' x"), "the output of the probe of blobs is longer than"),
    ],
)
async def test_a_kind_that_cannot_be_read_does_not_hide_the_others(
    hosts: Localhosts, probe: Command, words: str
) -> None:
    folder = hosts.folder(W1)
    blobs = [
        Blob(address=file(folder, name).address, slice=None, host=W1, path=f"{folder}/{name}", sha256="")
        for name in ("x", "y")
    ]
    drivers = {**DRIVERS, Blob.kind: replace(DRIVERS[Blob.kind], probe=lambda _: (probe,))}

    observed = await observe(hosts, [file(folder, "a"), *blobs], drivers)

    assert set(observed.facts) == {(W1, file(folder, "a").address)}
    assert set(observed.unread) == {(W1, Blob.kind)}
    obstacle = observed.obstacle(blobs[0])
    assert obstacle is not None
    assert words in obstacle.summary
    assert observed.obstacle(file(folder, "a")) is None
    assert [drift.kind for drift in find_drift(blobs, observed)] == [DriftKind.UNREACHABLE] * 2
    assert File.kind not in {kind for _, kind in observed.unread}
