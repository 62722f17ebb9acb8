from __future__ import annotations

import hmac
import json
from urllib.parse import urlencode

import pytest

from reconciler.gitops.webhooks import LARGEST_BODY, SKEW, Result, SeenIds, Verdict, sign, verify

NOW = 1_614_265_330.0
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - published
OTHER_SECRET = "whsec_" + "QUJD" * 8
STANDARD_BODY = b'{"test": 2432232314}'
PLAIN_SECRET = "It's a Secret to Everybody"  # noqa: S105 - published
HELLO = b"Hello, World!"
HELLO_HEX = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
STANDARD = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
SIGNATURE = STANDARD["webhook-signature"]

Headers = dict[str, str]


def verdict(headers: Headers, body: bytes, *secrets: str, now: float = NOW, seen: SeenIds | None = None) -> Verdict:
    return verify(headers.items(), body, secrets=secrets, now=now, seen=SeenIds() if seen is None else seen)


AUTHENTIC = {
    # docs.github.com, "Validating webhook deliveries"
    "GitHub's own example": ({"X-Hub-Signature-256": f"sha256={HELLO_HEX}"}, HELLO, PLAIN_SECRET),
    "Gitea": ({"X-Gitea-Signature": HELLO_HEX}, HELLO, PLAIN_SECRET),
    "Forgejo": ({"X-Forgejo-Signature": HELLO_HEX}, HELLO, PLAIN_SECRET),
    "Forgejo as GitHub": (
        {"X-Gitea-Signature": "x", "X-Hub-Signature-256": f"sha256={HELLO_HEX}"},
        HELLO,
        PLAIN_SECRET,
    ),
    "GitLab's token": ({"X-Gitlab-Token": "gëheim"}, HELLO, "gëheim"),
    # the example of the Standard Webhooks reference libraries
    "Standard Webhooks' own example": (STANDARD, STANDARD_BODY, STANDARD_SECRET),
    "names in capitals": ({name.upper(): value for name, value in STANDARD.items()}, STANDARD_BODY, STANDARD_SECRET),
    "the second signature": ({**STANDARD, "webhook-signature": f"v1,AAAA {SIGNATURE}"}, STANDARD_BODY, STANDARD_SECRET),
    "another version too": (
        {**STANDARD, "webhook-signature": f"v1a,{SIGNATURE} {SIGNATURE}"},
        STANDARD_BODY,
        STANDARD_SECRET,
    ),
}
FORGED = {
    "nothing": ({}, HELLO, PLAIN_SECRET, "no signature"),
    "another body": ({"X-Hub-Signature-256": f"sha256={HELLO_HEX}"}, b"Hello, World", PLAIN_SECRET, "does not match"),
    "another secret": ({"X-Hub-Signature-256": f"sha256={HELLO_HEX}"}, HELLO, "guess", "does not match"),
    "SHA-1 only": ({"X-Hub-Signature": "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59"}, HELLO, PLAIN_SECRET, "no sig"),
    "another digest": ({"X-Hub-Signature-256": f"sha1={HELLO_HEX}"}, HELLO, PLAIN_SECRET, "does not match"),
    "GitHub without a prefix": ({"X-Hub-Signature-256": HELLO_HEX}, HELLO, PLAIN_SECRET, "does not match"),
    "Gitea with a prefix": ({"X-Gitea-Signature": f"sha256={HELLO_HEX}"}, HELLO, PLAIN_SECRET, "does not match"),
    "Forgejo": ({"X-Forgejo-Signature": "0" * 64}, HELLO, PLAIN_SECRET, "does not match"),
    "empty": ({"X-Gitea-Signature": ""}, HELLO, PLAIN_SECRET, "does not match"),
    "not ASCII": ({"X-Hub-Signature-256": "sha256=é\udcff"}, HELLO, PLAIN_SECRET, "does not match"),
    "another token": ({"X-Gitlab-Token": "gehei"}, HELLO, "geheim", "does not match"),
    "no token": ({"X-Gitlab-Token": ""}, HELLO, "geheim", "does not match"),
    "a good token beside a bad signature": (
        {**STANDARD, "webhook-signature": "v1,AAAA", "X-Gitlab-Token": STANDARD_SECRET},
        STANDARD_BODY,
        STANDARD_SECRET,
        "does not match",
    ),
    "another id": ({**STANDARD, "webhook-id": "msg_2"}, STANDARD_BODY, STANDARD_SECRET, "does not match"),
    "no id": ({name: STANDARD[name] for name in STANDARD if name != "webhook-id"}, b"", STANDARD_SECRET, "webhook-id"),
    "an id with a full stop": ({**STANDARD, "webhook-id": "a.5"}, STANDARD_BODY, STANDARD_SECRET, "webhook-id"),
    "a long id": ({**STANDARD, "webhook-id": "a" * 257}, STANDARD_BODY, STANDARD_SECRET, "webhook-id"),
    "another time": ({**STANDARD, "webhook-timestamp": "1614265331"}, STANDARD_BODY, STANDARD_SECRET, "does not match"),
    "no time": ({**STANDARD, "webhook-timestamp": ""}, STANDARD_BODY, STANDARD_SECRET, "webhook-timestamp"),
    "Arabic digits": (
        {**STANDARD, "webhook-timestamp": "١٦١٤٢٦٥٣٣٠"},
        STANDARD_BODY,
        STANDARD_SECRET,
        "webhook-timestamp",
    ),
    "a time with a sign": ({**STANDARD, "webhook-timestamp": "+1614265330"}, b"", STANDARD_SECRET, "webhook-timestamp"),
    "the version alone": ({**STANDARD, "webhook-signature": "v1,"}, STANDARD_BODY, STANDARD_SECRET, "does not match"),
    "an asymmetric version": (
        {**STANDARD, "webhook-signature": SIGNATURE.replace("v1", "v1a")},
        STANDARD_BODY,
        STANDARD_SECRET,
        "does not",
    ),
    "a right one after many": (
        {**STANDARD, "webhook-signature": "v1,AAAA " * 16 + SIGNATURE},
        STANDARD_BODY,
        STANDARD_SECRET,
        "does not match",
    ),
    "a secret of another kind": (STANDARD, STANDARD_BODY, "geheim", "whsec_"),
    "a secret that is not base64": (STANDARD, STANDARD_BODY, "whsec_!", "whsec_"),
    "a secret without bytes": (STANDARD, STANDARD_BODY, "whsec_", "whsec_"),
}


@pytest.mark.parametrize(("headers", "body", "secret"), AUTHENTIC.values(), ids=AUTHENTIC)
def test_authentic_webhooks_are_accepted(headers: Headers, body: bytes, secret: str) -> None:
    assert verdict(headers, body, secret).result is Result.ACCEPTED
    assert verdict(headers, body, OTHER_SECRET, secret).result is Result.ACCEPTED
    assert verdict(headers, body, OTHER_SECRET).result is Result.REFUSED
    assert verdict(headers, body + b" ", OTHER_SECRET).result is Result.REFUSED


@pytest.mark.parametrize(("headers", "body", "secret", "reason"), FORGED.values(), ids=FORGED)
def test_forged_webhooks_are_refused(headers: Headers, body: bytes, secret: str, reason: str) -> None:
    seen = SeenIds()
    found = verdict(headers, body, secret, seen=seen)
    assert found.result is Result.REFUSED
    assert reason in found.reason
    assert len(seen) == 0


@pytest.mark.parametrize(
    ("shift", "result"),
    [
        (0, Result.ACCEPTED),
        (SKEW, Result.ACCEPTED),
        (-SKEW, Result.ACCEPTED),
        (SKEW + 1, Result.REFUSED),
        (-SKEW - 1, Result.REFUSED),
    ],
)
def test_timestamps_may_differ_by_five_minutes(shift: int, result: Result) -> None:
    assert verdict(STANDARD, STANDARD_BODY, STANDARD_SECRET, now=NOW + shift).result is result


def test_a_header_that_is_there_twice_is_refused() -> None:
    headers = [("X-Gitlab-Token", "geheim"), ("x-gitlab-token", "other")]
    found = verify(headers, b"", secrets=["geheim"], now=NOW, seen=SeenIds())
    assert (found.result, found.reason) == (Result.REFUSED, "the header x-gitlab-token is there twice")


@pytest.mark.parametrize("secrets", [[], [""], ["geheim", ""]])
def test_no_secret_is_not_an_open_door(secrets: list[str]) -> None:
    with pytest.raises(ValueError, match="needs a secret"):
        verify([("X-Gitlab-Token", "")], b"", secrets=secrets, now=NOW, seen=SeenIds())


def test_large_bodies_are_refused_and_the_largest_is_not() -> None:
    headers = {"X-Gitlab-Token": "geheim"}
    assert verdict(headers, bytes(LARGEST_BODY), "geheim").result is Result.ACCEPTED
    assert verdict(headers, bytes(LARGEST_BODY + 1), "geheim").result is Result.REFUSED


def test_repetitions_are_known_by_id_and_memory_is_bounded() -> None:
    seen = SeenIds(most=2)

    def receive(name: str) -> Result:
        headers = sign(STANDARD_BODY, secret=STANDARD_SECRET, name=name, now=NOW)
        return verdict(headers, STANDARD_BODY, STANDARD_SECRET, seen=seen).result

    assert [receive(name) for name in ("one", "two", "one")] == [Result.ACCEPTED, Result.ACCEPTED, Result.REPEATED]
    assert receive("three") is Result.ACCEPTED
    assert len(seen) == 2
    assert receive("two") is Result.REPEATED


@pytest.mark.parametrize("name", ["X-GitHub-Delivery", "X-Gitea-Delivery", "X-Forgejo-Delivery", "X-Gitlab-Event-UUID"])
def test_ids_of_other_schemes_are_remembered_too(name: str) -> None:
    seen = SeenIds()
    headers = {"X-Gitlab-Token": "geheim", name: "72d3162e-cc78-11e3-81ab-4c9367dc0958"}
    found = [verdict(headers, b"", "geheim", seen=seen).result for _ in range(2)]
    assert found == [Result.ACCEPTED, Result.REPEATED]


GITHUB_PUSH = {"ref": "refs/heads/main", "repository": {"full_name": "campus/topologies"}}
GITLAB_PUSH = {"ref": "refs/heads/feature/x", "project": {"path_with_namespace": "net/labs/topologies"}}
BODIES = {
    "GitHub": (json.dumps(GITHUB_PUSH), "campus/topologies", "main"),
    "GitLab": (json.dumps(GITLAB_PUSH), "net/labs/topologies", "feature/x"),
    "a tag": (json.dumps({**GITHUB_PUSH, "ref": "refs/tags/v1"}), "campus/topologies", None),
    "a ping": (json.dumps({"zen": "x", "repository": GITHUB_PUSH["repository"]}), "campus/topologies", None),
    "no JSON": ("hello", None, None),
    "a list": ("[]", None, None),
    "other types": ('{"ref": 5, "repository": {"full_name": ["x"]}, "project": []}', None, None),
    "control characters": ('{"ref": "refs/heads/\\u001b[2J", "repository": {"full_name": "a\\nb"}}', None, None),
    "a long name": (json.dumps({"ref": "refs/heads/" + "x" * 1025}), None, None),
    "an empty name": ('{"ref": "refs/heads/"}', None, None),
    "deep": ("[" * 100_000, None, None),
    "a long number": ("9" * 5000, None, None),
}


@pytest.mark.parametrize(("body", "repository", "branch"), BODIES.values(), ids=BODIES)
def test_repository_and_branch_are_those_that_the_body_names(
    body: str, repository: str | None, branch: str | None
) -> None:
    found = verdict({"X-Gitlab-Token": "geheim"}, body.encode(), "geheim")
    assert found == Verdict(Result.ACCEPTED, "", repository, branch)


def test_a_body_of_a_form_is_verified_as_received_and_then_read() -> None:
    body = urlencode({"payload": json.dumps(GITHUB_PUSH)}).encode()
    signature = "sha256=" + hmac.digest(b"geheim", body, "sha256").hex()
    headers = {"X-Hub-Signature-256": signature, "Content-Type": "application/x-www-form-urlencoded"}
    assert verdict(headers, body, "geheim") == Verdict(Result.ACCEPTED, "", "campus/topologies", "main")


def test_bodies_are_raw_bytes() -> None:
    body = b'{"ref":\r\n"\xff"}'
    headers = {"X-Gitea-Signature": hmac.digest(b"geheim", body, "sha256").hex()}
    assert verdict(headers, body, "geheim") == Verdict(Result.ACCEPTED)


def test_what_we_sign_is_what_the_reference_signs() -> None:
    assert sign(STANDARD_BODY, secret=STANDARD_SECRET, name=STANDARD["webhook-id"], now=NOW + 0.9) == STANDARD


@pytest.mark.parametrize(("secret", "name"), [("geheim", "one"), ("whsec_", "one"), (STANDARD_SECRET, "a.b")])
def test_what_could_not_be_verified_is_not_signed(secret: str, name: str) -> None:
    with pytest.raises(ValueError, match=r"secret|id"):
        sign(b"", secret=secret, name=name, now=NOW)
