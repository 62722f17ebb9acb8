"""What posting to a site means, the same on each of them."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from base64 import b64encode
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from threading import Thread

import pytest

from reconciler.errors import SiteError, SiteRefused, SiteUnanswered, UsageError
from reconciler.gitops.sites.posting import Change, Posted, post_comment
from reconciler.gitops.sites.site import Comment, State, Status
from tests.gitops.conftest import NOW, SHORT, Review
from tests.gitops.served import HEAD, TOKEN, Fault, Served, drip, fall_silent, hang_up, reply, serving

MARKER = "<!-- reconciler:preview cluster=campus -->"
OTHER_MARKER = "<!-- reconciler:preview cluster=campus2 -->"
PREVIEW = f"{MARKER}\n### Preview\n\nNo changes.\n"


def fill(served: Served, count: int) -> None:
    for number in range(count):
        served.put(f"comment {number}", author="8")


def test_the_first_preview_is_a_new_comment(review: Review) -> None:
    assert post_comment(review.site, PREVIEW).change is Change.CREATED
    assert [(one.author, one.body) for one in review.served.notes] == [("7", PREVIEW)]


def test_a_later_preview_replaces_it_in_place_wherever_it_is(review: Review) -> None:
    fill(review.served, 150)
    ours = review.served.put(PREVIEW)
    fill(review.served, 120)
    posted = post_comment(review.site, PREVIEW.replace("No changes", "1 to add"))
    assert (posted.change, posted.superseded) == (Change.EDITED, 0)
    assert "1 to add" in ours.body
    assert len(review.served.notes) == 271
    assert len(review.served.written) == 1


def test_every_page_is_read_and_the_pages_are_long(review: Review) -> None:
    fill(review.served, 250)
    found = list(review.site.comments())
    assert [one.body for one in found] == [one.body for one in review.served.notes]
    assert len(review.served.requests) == 3


def test_an_equal_text_is_not_sent_again(review: Review) -> None:
    review.served.put(PREVIEW.rstrip().replace("\n", "\r\n"))  # as sites return it
    assert post_comment(review.site, PREVIEW).change is Change.UNCHANGED
    assert review.served.written == []


def test_a_comment_of_another_author_is_not_ours_although_it_has_our_marker(review: Review) -> None:
    forged = review.served.put(PREVIEW, author="8")
    assert post_comment(review.site, PREVIEW + "more").change is Change.CREATED
    assert forged.body == PREVIEW


@pytest.mark.parametrize("body", ["text\n" + MARKER, MARKER + " x", OTHER_MARKER + "\nx", " " + MARKER, ""])
def test_the_marker_is_the_whole_first_line(review: Review, body: str) -> None:
    quoted = review.served.put(body)
    assert post_comment(review.site, PREVIEW).change is Change.CREATED
    assert quoted.body == body


def test_clusters_have_comments_of_their_own(review: Review) -> None:
    other = review.served.put(PREVIEW.replace(MARKER, OTHER_MARKER))
    post_comment(review.site, PREVIEW)
    assert len(review.served.notes) == 2
    assert other.body.startswith(OTHER_MARKER)


def test_older_ones_of_ours_are_folded_and_the_latest_is_edited(review: Review) -> None:
    older, latest = review.served.put(PREVIEW + "old"), review.served.put(PREVIEW)
    posted = post_comment(review.site, PREVIEW + "new")
    assert (posted.change, posted.superseded) == (Change.EDITED, 1)
    assert latest.body == PREVIEW + "new"
    assert older.body.startswith("<!-- reconciler:superseded -->\n<details><summary>Superseded</summary>")
    assert "old" in older.body
    assert post_comment(review.site, PREVIEW + "new").superseded == 0


@pytest.mark.parametrize("over", [0, 1, 500_000])
def test_what_is_too_long_is_cut_and_closed(review: Review, over: int) -> None:
    begin = f"{MARKER}\n<details><summary>web</summary>\n\n````diff\n"
    text = (begin + "+ line é\n" * 200_000)[: review.site.longest + over]
    post_comment(review.site, text)
    (note,) = review.served.notes
    assert len(note.body) <= review.site.longest
    if over:
        assert note.body.count("````") == 2
        assert note.body.index("</details>") > note.body.rindex("````")
        assert "cut" in note.body
        assert post_comment(review.site, text).change is Change.UNCHANGED


def test_what_is_no_preview_is_refused_before_anything_is_sent(review: Review) -> None:
    with pytest.raises(UsageError, match="not a preview"):
        post_comment(review.site, "hello\n" + MARKER)
    assert review.served.requests == []


def test_the_head_is_the_commit_that_would_be_merged(review: Review) -> None:
    assert review.site.head() == HEAD


@pytest.mark.parametrize("state", State)
def test_every_state_of_a_commit_can_be_set_twice(review: Review, state: State) -> None:
    status = Status(HEAD, state, "1 to add,\n" + "x" * 200, "https://ci.example/1")
    review.site.set_status(status)
    review.site.set_status(status)
    commit, data = review.served.statuses[0]
    assert commit == HEAD
    assert len(data["description"]) == 140
    assert data["description"].startswith("1 to add, x")
    assert data["target_url"] == "https://ci.example/1"
    assert "reconciler/plan" in {data.get("context"), data.get("name")}


TEMPORARY: dict[str, tuple[Fault, float]] = {
    "429 with seconds": (reply(429, {"Retry-After": "7"}), 7),
    "403 with seconds": (reply(403, {"Retry-After": "7"}), 7),
    "429 with a date": (reply(429, {"Retry-After": formatdate(NOW + 20, usegmt=True)}), 20),
    "429 with a reset": (reply(429, {"X-RateLimit-Reset": f"{NOW + 60:.0f}"}), 61),
    "429 with another reset": (reply(429, {"RateLimit-Reset": f"{NOW + 60:.0f}"}), 61),
    "403 with a reset": (reply(403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{NOW + 9:.0f}"}), 10),
    "a secondary limit": (reply(403, data={"message": "You have exceeded a secondary rate limit."}), 60),
    "429 alone": (reply(429), 0.75),
    "429 with nonsense": (reply(429, {"Retry-After": "soon"}), 0.75),
    "502": (reply(502, raw=b"<html>"), 0.75),
    "503 with seconds": (reply(503, {"Retry-After": "3"}), 3),
    "a connection that ends": (hang_up, 0.75),
    "silence": (fall_silent(0.8), 0.75),
    "a slow body": (drip(1.5), 0.75),
    "half of a body": (reply(200, {"Content-Length": "5000"}, [1]), 0.75),
}


@pytest.mark.parametrize(("fault", "wait"), TEMPORARY.values(), ids=TEMPORARY)
def test_temporary_faults_are_waited_for(review: Review, fault: Fault, wait: float) -> None:
    review.served.faults.append(fault)
    assert review.site.head() == HEAD
    assert review.waits.all == [pytest.approx(wait)]


def test_a_slow_body_is_not_read_to_its_end(review: Review) -> None:
    review.served.faults.append(drip(8))
    start = time.monotonic()
    assert review.site.head() == HEAD
    assert time.monotonic() - start < 6


def test_waits_grow_and_attempts_end(review: Review) -> None:
    review.served.faults.extend([reply(502)] * 10)
    with pytest.raises(SiteUnanswered, match="502"):
        review.site.head()
    assert review.waits.all == [0.75, 1.5, 3.0, 6.0]
    assert len(review.served.requests) == SHORT.attempts


def test_a_limit_that_lasts_too_long_is_an_error_at_once(review: Review) -> None:
    review.served.faults.append(reply(429, {"Retry-After": "3000"}))
    with pytest.raises(SiteRefused, match=r"rate limit of .* ends in 3000 s"):
        review.site.head()
    assert review.waits.all == []


@pytest.mark.parametrize("fault", [hang_up, reply(502), fall_silent(0.8)], ids=["ends", "502", "silence"])
def test_a_comment_whose_answer_was_lost_is_not_posted_twice(review: Review, fault: Fault) -> None:
    review.served.after.append(fault)
    assert post_comment(review.site, PREVIEW).change is Change.UNCHANGED
    assert len(review.served.notes) == 1


def test_a_comment_that_was_lost_is_posted_again(review: Review) -> None:
    review.served.faults.extend([reply(200, data=review.served.user()), reply(200, data=[]), reply(502)])
    assert post_comment(review.site, PREVIEW).change is Change.CREATED
    assert (len(review.served.notes), review.waits.all) == (1, [0.75])


def test_a_refused_comment_is_posted_after_the_wait(review: Review) -> None:
    limited = reply(429, {"Retry-After": "4"})
    review.served.faults.extend([reply(200, data=review.served.user()), reply(200, data=[]), limited])
    assert post_comment(review.site, PREVIEW).change is Change.CREATED
    assert (len(review.served.notes), review.waits.all) == (1, [4])


REFUSALS = {
    401: "wrong, expired or revoked",
    403: "write|role Developer",
    404: "may not see",
    422: "refuses the content",
}


@pytest.mark.parametrize(("status", "hint"), REFUSALS.items())
def test_refusals_say_what_to_do_and_are_not_repeated(review: Review, status: int, hint: str) -> None:
    fault = reply(status, data={"message": f"no \x1b[31m {TOKEN}", "errors": [{"message": "x"}]})
    review.served.faults.extend([fault] * 2)
    with pytest.raises(SiteRefused, match=f"{review.site.name} answered {status} to GET ") as caught:
        review.site.head()
    (problem,) = caught.value.problems()
    assert problem.hint is not None
    assert any(part in problem.hint for part in hint.split("|"))
    assert len(review.served.requests) == 1
    said = f"{problem.summary} {problem.hint}"
    assert (TOKEN in said, "\x1b" in said, "***" in said) == (False, False, True)


BAD = {
    "no JSON": reply(200, raw=b"<html>login</html>"),
    "another shape": reply(200, data={"head": 5}),
    "deep": reply(200, raw=b"[" * 100_000),
    "nothing": reply(200, raw=b""),
    "too large": reply(200, raw=b" " * (SHORT.size + 1)),
    "a list": reply(200, data=[1]),
}


@pytest.mark.parametrize("fault", BAD.values(), ids=BAD)
def test_an_answer_that_makes_no_sense_is_one_error(review: Review, fault: Fault) -> None:
    review.served.faults.append(fault)
    with pytest.raises(SiteError, match=review.site.name):
        review.site.head()
    assert review.waits.all == []


def test_redirects_within_the_site_are_followed_with_the_method(review: Review) -> None:
    review.served.put(PREVIEW)
    found = next(review.site.comments())
    moved = reply(307, {"Location": review.served.prefix + f"{review.served.note_path}/{found.number}"})
    review.served.faults.append(moved)
    assert review.site.edit(found.number, "new").body == "new"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_token_goes_to_no_other_place(review: Review, status: int) -> None:
    with serving(Served()) as other:
        review.served.faults.append(reply(status, {"Location": other.url + "/user"}))
        with pytest.raises(SiteError, match=r"leads to 'http://127\.0\.0\.1', where the token is not sent"):
            review.site.author()
        assert other.requests == []


def test_redirects_end(review: Review) -> None:
    review.served.faults.extend([reply(302, {"Location": "/again"})] * 9)
    with pytest.raises(SiteError, match="redirects more than 3 times"):
        review.site.head()
    assert len(review.served.requests) == 4


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://git.example.org/api", "begins with https://"),
        ("ftp://127.0.0.1", "begins with https://"),
        ("api.github.com", "begins with https://"),
        ("https://[::1", "begins with https://"),
        ("https://host:port", "begins with https://"),
        ("https://me:secret@git.example.org", "more than host and path"),
        ("https://git.example.org/?x", "more than host and path"),
        ("https://", "more than host and path"),
    ],
)
def test_urls_that_are_no_api_are_refused(review: Review, url: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        review.connect(url, TOKEN, SHORT)
    assert said in f"{caught.value.summary} {caught.value.hint}"
    assert "secret" not in caught.value.summary


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "é"])
def test_a_token_that_is_none_is_refused_without_showing_it(review: Review, token: str) -> None:
    with pytest.raises(UsageError, match=f"the token for {review.site.name} is empty or has characters"):
        review.connect(review.served.url, token, SHORT)


def test_a_site_that_is_not_there_is_one_error(review: Review) -> None:
    site = review.connect("http://127.0.0.1:1", TOKEN, SHORT)
    with pytest.raises(SiteUnanswered, match=f"{review.site.name} gave no answer to GET"):
        site.head()


def test_a_certificate_that_is_not_accepted_is_one_error_until_its_ca_is_named(
    review: Review, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "certificate", tmp_path / "key"
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2")
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        *names,
        "-out",
        str(certificate),
        "-keyout",
        str(key),
    ]
    subprocess.run(argv, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(type(review.served)(), context) as served:
        url = served.url.replace("127.0.0.1", "localhost") + served.prefix
        with pytest.raises(SiteUnanswered) as caught:
            review.connect(url, TOKEN, SHORT).head()
        assert "SSL_CERT_FILE" in str(caught.value.hint)
        assert (review.waits.all, served.requests) == ([], [])
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert review.connect(url, TOKEN, SHORT).head() == HEAD


@pytest.mark.parametrize("proxy", ["http://me:p%40ss@127.0.0.1:{}", "me:p%40ss@127.0.0.1:{}"])
def test_other_hosts_are_reached_through_the_proxy_of_the_environment(
    review: Review, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        received: list[bytes] = []

        def refuse() -> None:
            connection, _ = server.accept()
            with connection:
                received.append(connection.recv(4096))
                connection.sendall(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n")

        thread = Thread(target=refuse)
        thread.start()
        monkeypatch.setenv("https_proxy", proxy.format(server.getsockname()[1]))
        site = review.connect("https://git.example.org", TOKEN, replace(SHORT, attempts=1))
        with pytest.raises(SiteUnanswered) as caught:
            site.head()
        thread.join()
    request, *headers = received[0].decode().split("\r\n")
    assert request.startswith("CONNECT git.example.org:443 HTTP/")
    assert f"proxy-authorization: Basic {b64encode(b'me:p@ss').decode()}" in headers
    assert TOKEN not in received[0].decode() + caught.value.summary
    assert "p@ss" not in caught.value.summary


def test_tokens_are_in_no_representation(review: Review) -> None:
    assert TOKEN not in repr(review.site)


def test_comments_are_those_of_the_review(review: Review) -> None:
    note = review.served.put("hello", author="8")
    (found,) = review.site.comments()
    assert found == Comment(note.number, "8", "hello", found.url)
    assert isinstance(post_comment(review.site, PREVIEW), Posted)
