"""Verifies webhooks of Git hosting sites and signs our own; pure, with the clock as an argument.

A verified webhook says only that a repository may have changed: the receiver reads Git itself. Four schemes are known:

GitHub    X-Hub-Signature-256: sha256=<hex>, an HMAC of the raw body
Forgejo   X-Forgejo-Signature or X-Gitea-Signature: <hex>, the same HMAC
GitLab    X-Gitlab-Token: the secret itself
Standard  webhook-signature: v1,<base64>, an HMAC of `id.timestamp.body` (https://www.standardwebhooks.com); GitLab too

A request that has a signature of the last scheme is verified by it alone, since only that one expires.
"""

from __future__ import annotations

import binascii
import hmac
import json
import re
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import parse_qs

LARGEST_BODY: Final = 25 * 1024 * 1024
"""The most bytes of a body, as GitHub limits them."""

SKEW: Final = 300
"""How many seconds a timestamp may differ from our clock, as in the Standard Webhooks specification."""

_ID: Final = "webhook-id"
_TIMESTAMP: Final = "webhook-timestamp"
_SIGNATURE: Final = "webhook-signature"
_GITHUB: Final = "x-hub-signature-256"
_FORGEJO: Final = ("x-forgejo-signature", "x-gitea-signature")
_GITLAB: Final = "x-gitlab-token"
_DELIVERIES: Final = ("x-github-delivery", "x-forgejo-delivery", "x-gitea-delivery", "x-gitlab-event-uuid")
_USED: Final = {_ID, _TIMESTAMP, _SIGNATURE, _GITHUB, *_FORGEJO, _GITLAB, *_DELIVERIES, "content-type"}

_PREFIX: Final = "whsec_"
_MOST_SIGNATURES: Final = 16
_WELL_FORMED_ID: Final = re.compile(r"[!-\-/-~]{1,256}", re.ASCII)
"""Printable ASCII without a full stop, which separates the id from the timestamp in what is signed."""
_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_BRANCH: Final = "refs/heads/"
_LONGEST_NAME: Final = 1024


class Result(StrEnum):
    """What verification found."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    """Authentic, and known already."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verification found, why a webhook was refused, and which repository and branch it names, if it does.

    Names are those of the sender: `repository` as owner/name or group/subgroup/name, `branch` without refs/heads/.
    """

    result: Result
    reason: str = ""
    repository: str | None = None
    branch: str | None = None


class SeenIds:
    """The ids of the latest authentic webhooks, at most `most`; the oldest is forgotten first."""

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, name: str) -> bool:
        """Remember an id; return whether it is new."""
        if name in self._ids:
            return False
        self._ids[name] = None
        if len(self._ids) > self._most:
            self._ids.popitem(last=False)
        return True


def verify(
    headers: Iterable[tuple[str, str]], body: bytes, *, secrets: Sequence[str], now: float, seen: SeenIds
) -> Verdict:
    """Verify one webhook by its headers and its raw body, as received.

    `secrets` are the secrets in use, several while one replaces another; raises ValueError if there is none or one is
    empty. `now` is in seconds since 1970. Only the id of an authentic webhook is remembered in `seen`.
    """
    if not secrets or not all(secrets):
        raise ValueError("a webhook needs a secret")
    if len(body) > LARGEST_BODY:
        return _refused(f"the body has more than {LARGEST_BODY} bytes")
    found, repeated = _used(headers)
    if repeated:
        return _refused(f"the header {repeated} is there twice")
    if reason := _wrong(found, body, secrets, now):
        return _refused(reason)
    repository, branch = _named(found.get("content-type", ""), body)
    delivery = next((f"{name} {found[name]}" for name in (_ID, *_DELIVERIES) if found.get(name)), None)
    is_new = delivery is None or seen.add(delivery[:_LONGEST_NAME])
    return Verdict(Result.ACCEPTED if is_new else Result.REPEATED, "", repository, branch)


def sign(body: bytes, *, secret: str, name: str, now: float) -> dict[str, str]:
    """Return the headers of a webhook of ours, by Standard Webhooks; `name` is its id, equal in every attempt.

    Raises ValueError for a secret that is not `whsec_` and base64, and for an id with a full stop.
    """
    key = _standard_key(secret)
    if key is None:
        raise ValueError(f"a secret for signing is {_PREFIX} and base64")
    if not _WELL_FORMED_ID.fullmatch(name):
        raise ValueError("the id of a webhook is printable ASCII without a full stop")
    seconds = str(int(now))
    return {_ID: name, _TIMESTAMP: seconds, _SIGNATURE: _standard_signature(key, name, seconds, body)}


def _refused(reason: str) -> Verdict:
    return Verdict(Result.REFUSED, reason)


def _used(headers: Iterable[tuple[str, str]]) -> tuple[dict[str, str], str | None]:
    """Return the headers that matter, by lower-case name, and the name of one that is there twice."""
    found: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in _USED and lower in found:
            return found, lower
        if lower in _USED:
            found[lower] = value
    return found, None


def _wrong(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float) -> str | None:
    """Return why a webhook is not authentic, or None if it is."""
    if _SIGNATURE in headers:
        return _wrong_standard(headers, body, secrets, now)
    if _GITHUB in headers:
        kind, _, given = headers[_GITHUB].partition("=")
        return None if kind == "sha256" and _is_hmac(given, body, secrets) else f"{_GITHUB} does not match"
    for name in _FORGEJO:
        if name in headers:
            return None if _is_hmac(headers[name], body, secrets) else f"{name} does not match"
    if _GITLAB in headers:
        return None if _any_equal(headers[_GITLAB], secrets) else f"{_GITLAB} does not match"
    return "there is no signature"


def _wrong_standard(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float) -> str | None:
    name, seconds = headers.get(_ID, ""), headers.get(_TIMESTAMP, "")
    if not _WELL_FORMED_ID.fullmatch(name):
        return f"{_ID} is missing or not well-formed"
    if not _SECONDS.fullmatch(seconds):
        return f"{_TIMESTAMP} is missing or not a number of seconds"
    keys = [key for secret in secrets if (key := _standard_key(secret)) is not None]
    if not keys:
        return f"no secret for {_SIGNATURE}: it begins with {_PREFIX}"
    right = [_standard_signature(key, name, seconds, body) for key in keys]
    given = headers[_SIGNATURE].split(" ")[:_MOST_SIGNATURES]
    if not any([_any_equal(one, right) for one in given]):  # noqa: C419 - each is compared, in constant time
        return f"{_SIGNATURE} does not match"
    if abs(now - int(seconds)) > SKEW:
        return f"{_TIMESTAMP} differs from our clock by more than {SKEW} s"
    return None


def _standard_key(secret: str) -> bytes | None:
    """Return the bytes of a secret of Standard Webhooks; None if it is none."""
    if not secret.startswith(_PREFIX):
        return None
    try:
        return b64decode(secret.removeprefix(_PREFIX), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _standard_signature(key: bytes, name: str, seconds: str, body: bytes) -> str:
    signed = f"{name}.{seconds}.".encode("ascii") + body
    return "v1," + b64encode(hmac.digest(key, signed, "sha256")).decode("ascii")


def _is_hmac(given: str, body: bytes, secrets: Sequence[str]) -> bool:
    """Return whether `given` is the HMAC-SHA256 of the body by any of the secrets, in lower-case hex."""
    return _any_equal(given, [hmac.digest(secret.encode("utf-8"), body, "sha256").hex() for secret in secrets])


def _any_equal(given: str, right: Sequence[str]) -> bool:
    """Compare with every text, each in constant time."""
    text = given.encode("utf-8", "surrogateescape")
    return any([hmac.compare_digest(text, one.encode("utf-8")) for one in right])  # noqa: C419 - each is compared


def _named(content_type: str, body: bytes) -> tuple[str | None, str | None]:
    """Return the repository and the branch that an authentic body names; None where it names none."""
    try:
        if content_type.lower().startswith("application/x-www-form-urlencoded"):
            body = parse_qs(body.decode("utf-8"), max_num_fields=8)["payload"][0].encode("utf-8")
        data: Any = json.loads(body)
    except (ValueError, KeyError, RecursionError):
        return None, None
    if not isinstance(data, dict):
        return None, None
    repository = _text(data, "repository", "full_name") or _text(data, "project", "path_with_namespace")
    ref = data.get("ref")
    branch = _name(ref.removeprefix(_BRANCH)) if isinstance(ref, str) and ref.startswith(_BRANCH) else None
    return repository, branch


def _text(data: Mapping[str, Any], part: str, key: str) -> str | None:
    inner = data.get(part)
    return _name(inner.get(key)) if isinstance(inner, dict) else None


def _name(value: object) -> str | None:
    """Return a text that can be a name: not empty, printable, not too long."""
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable() else None
