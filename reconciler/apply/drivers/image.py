"""Uploads base images to a worker and verifies their SHA-256.

Files beside each image have its owner and its verified hash, so that a probe does not read gigabytes again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.apply.drivers import paths
from reconciler.apply.drivers.driver import Driver, Found, Survey, SurveyTarget
from reconciler.apply.drivers.ownership import list_files, parse_files, refuse, stop_at, tagged
from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Operation, Result, Upload, script
from reconciler.errors import ForeignObject
from reconciler.plan.resources import ROOT, Image
from reconciler.spec.models.names import Address

# Four lines for each path: whether it exists, owner, its verified hash, whether it is unchanged since then.
PROBE = """
for path do
    present= owner= sum= size= same=
    if [ -e "$path" ]; then present=yes; fi
    if [ -e "$path.owner" ]; then IFS= read -r owner < "$path.owner" || :; fi
    if [ -n "$present" ] && [ -e "$path.sha256" ]; then
        read -r sum size < "$path.sha256" || :
        if ! [ "$path" -nt "$path.sha256" ] && [ "$(stat -c %s -- "$path")" = "$size" ]; then same=yes; fi
    fi
    printf '%s\\n' "$present" "$owner" "$sum" "$same"
done
"""

# An upload first goes to a file beside the image. After a power failure that file is still there.
CLAIM = """
umask 022
mkdir -p -- "$3"
rm -f -- "$1.partial."*
printf '%s\\n' "$2" > "$1.owner"
"""

VERIFY = """
sum=$(sha256sum < "$1")
sum=${sum%% *}
if [ "$sum" != "$2" ]; then
    echo "$1 has the SHA-256 $sum, but it should be $2" >&2
    exit 1
fi
printf '%s %s\\n' "$sum" "$(stat -c %s -- "$1")" > "$1.sha256"
"""

REMOVE = """
rm -f -- "$1" "$1.sha256" "$1.owner" "$1.partial."*
"""


@dataclass(frozen=True, slots=True)
class ImageFact:
    """What exists at an image's path. `sha256` is empty unless the file is unchanged since it was last verified."""

    present: bool
    owner: str
    sha256: str


def probe(images: Sequence[Image]) -> tuple[Command, ...]:
    """Return the command that reads the files beside the images, not the images themselves."""
    return (script(PROBE, *(image.path for image in images)),)


def parse(images: Sequence[Image], results: Sequence[Result]) -> Mapping[Address, ImageFact]:
    """Read one fact for each image."""
    found = output.records(images[0].host, results[0], count=len(images), width=4)
    return {
        image.address: ImageFact(present == "yes", owner, sum_ if same == "yes" else "")
        for image, (present, owner, sum_, same) in zip(images, found, strict=True)
    }


def ensure(image: Image, fact: ImageFact, _before: Image | None) -> tuple[Operation, ...]:
    """Upload the image unless it exists and is verified. An interrupted upload starts again."""
    stop_at(_obstacle(image, fact))
    if fact.present and fact.sha256 == image.sha256:
        return ()
    claim = script(CLAIM, image.path, image.address, paths.parent(image.path))
    return claim, Upload(image.path, image.sha256), script(VERIFY, image.path, image.sha256)


def remove(image: Image, fact: ImageFact) -> tuple[Operation, ...]:
    """Delete the image and the files beside it. The plan ensures that no overlay needs it."""
    stop_at(_obstacle(image, fact))
    if not fact.present and not fact.owner:
        return ()
    return (script(REMOVE, image.path),)


def observed(image: Image, fact: ImageFact) -> Mapping[str, Any] | None:
    """Return the path and hash as found."""
    if not fact.present or _obstacle(image, fact):
        return None
    return {"path": image.path, "sha256": fact.sha256 or "not verified"}


def _obstacle(image: Image, fact: ImageFact) -> ForeignObject | None:
    if fact.owner != image.address and (fact.present or fact.owner):
        return refuse(image, f"the file {image.path}", fact.owner)
    return None


def survey(target: SurveyTarget, results: Sequence[Result]) -> Iterator[Found]:
    """Find images by the owner files beside them."""
    for file in parse_files(target.host, results[0]):
        if (where := tagged(Image, file.lines[0])) is not None:
            path = file.path.removesuffix(".owner")
            yield Found(Image(address=where, slice=None, host=target.host, path=path, sha256=""), file.mark)


SURVEY: Survey[Image] = Survey((list_files(f"{ROOT}/images", 1, "*.owner"),), survey, lambda image: image.path)
DRIVER = Driver(Image, probe, parse, ensure, remove, observed, SURVEY)
