"""Serves the documented API of GitHub and of GitLab for one review, on a real socket, with faults on request."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

HEAD = "a" * 40
TOKEN = "tok-5f2d81c09b"  # noqa: S105 - of no site


@dataclass
class Request:
    """One request as it was received."""

    method: str
    path: str
    headers: dict[str, str]
    data: Any


Fault = Callable[[BaseHTTPRequestHandler], None]
"""Answers one request instead of the site."""


@dataclass
class Note:
    """A comment on the site."""

    number: int
    author: str
    body: str
    system: bool = False


@dataclass
class Served:
    """The site: what is on it, what it was asked, and which faults come before its next answers.

    `after` are faults that come once the request has been done: only its answer is lost.
    """

    notes: list[Note] = field(default_factory=list)
    statuses: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    after: deque[Fault] = field(default_factory=deque)
    me: str = "7"
    head: str = HEAD
    tells_user: int = 200
    url: str = ""
    elsewhere: str = ""
    """If set, the place that links to further pages name."""

    def put(self, body: str, author: str | None = None) -> Note:
        """Put a comment on the site."""
        note = Note(len(self.notes) + 1001, author or self.me, body)
        self.notes.append(note)
        return note

    def asked(self, method: str) -> list[str]:
        """Return the paths of the requests of a method."""
        return [one.path for one in self.requests if one.method == method]

    @property
    def written(self) -> list[Request]:
        """The requests that change something."""
        return [one for one in self.requests if one.method != "GET"]

    def answer(self, request: Request) -> tuple[int, dict[str, str], Any]:
        """Return status, headers and JSON of an answer."""
        parts = urlsplit(request.path)
        path, query = unquote(parts.path), {name: one[0] for name, one in parse_qs(parts.query).items()}
        if not self.is_ours(request):
            return 401, {}, {"message": "Bad credentials"}
        path = path.removeprefix(self.prefix)
        if path in {"/user", self.request_path}:
            return self.fact(path)
        if path == self.notes_path:
            return self.create(request.data) if request.method == "POST" else self.page(query, parts.path)
        if found := re.fullmatch(re.escape(self.note_path) + r"/(\d+)", path):
            return self.edit(int(found[1]), request)
        if found := re.fullmatch(re.escape(self.status_path) + r"/([0-9a-f]+)", path):
            return self.set_status(found[1], request.data)
        return 404, {}, {"message": "Not Found"}

    def fact(self, path: str) -> tuple[int, dict[str, str], Any]:
        """Return who the token is of, or the review."""
        if path == self.request_path:
            return 200, {}, self.review()
        if self.tells_user == 200:
            return 200, {}, self.user()
        return self.tells_user, {}, {"message": "Resource not accessible by integration"}

    def page(self, query: dict[str, str], path: str) -> tuple[int, dict[str, str], Any]:
        """Return one page of comments."""
        size, number = min(int(query.get("per_page", "20")), 100), int(query.get("page", "1"))
        rows = self.notes[(number - 1) * size : number * size]
        last = -(-len(self.notes) // size)
        return 200, self.page_headers(path, size, number, last), [self.shown(one) for one in rows]

    def create(self, data: Any) -> tuple[int, dict[str, str], Any]:
        """Add a comment."""
        if len(data["body"]) > self.longest:
            return 422, {}, {"message": "Validation Failed", "errors": [{"message": "body is too long"}]}
        return 201, {}, self.shown(self.put(data["body"]))

    def edit(self, number: int, request: Request) -> tuple[int, dict[str, str], Any]:
        """Replace the text of a comment; only its author may."""
        (note,) = [one for one in self.notes if one.number == number]
        if request.method != self.edit_method or note.author != self.me:
            return 403, {}, {"message": "Forbidden"}
        if len(request.data["body"]) > self.longest:
            return 422, {}, {"message": "Validation Failed"}
        note.body = request.data["body"]
        return 200, {}, self.shown(note)

    # what differs between sites
    longest: int = 65_536
    prefix: str = ""
    edit_method: str = "PATCH"
    request_path: str = "/repos/campus/topologies/pulls/7"
    notes_path: str = "/repos/campus/topologies/issues/7/comments"
    note_path: str = "/repos/campus/topologies/issues/comments"
    status_path: str = "/repos/campus/topologies/statuses"

    def is_ours(self, request: Request) -> bool:
        """Whether the token is right."""
        return request.headers.get("authorization") == f"Bearer {TOKEN}"

    def user(self) -> Any:
        """Return the user of the token."""
        return {"login": self.me, "id": 7, "type": "User"}

    def review(self) -> Any:
        """Return the pull request."""
        return {"number": 7, "head": {"sha": self.head}}

    def shown(self, note: Note) -> Any:
        """Return a comment as the API does."""
        url = f"https://github.com/campus/topologies/pull/7#issuecomment-{note.number}"
        user = {"login": note.author} if note.author else None
        return {"id": note.number, "body": note.body, "user": user, "html_url": url}

    def page_headers(self, path: str, size: int, number: int, last: int) -> dict[str, str]:
        """Return the headers that lead to other pages."""
        base = (self.elsewhere or self.url) + path
        links = [f'<{base}?per_page={size}&page={number - 1}>; rel="prev"'] if number > 1 else []
        if number < last:
            links += [
                f'<{base}?per_page={size}&page={number + 1}>; rel="next"',
                f'<{base}?per_page={size}&page={last}>; rel="last"',
            ]
        return {"Link": ", ".join(links)} if links else {}

    def set_status(self, commit: str, data: Any) -> tuple[int, dict[str, str], Any]:
        """Set a status."""
        if data["state"] not in {"error", "failure", "pending", "success"} or len(data["description"]) > 140:
            return 422, {}, {"message": "Validation Failed"}
        self.statuses.append((commit, data))
        return 201, {}, {"id": 1}


@dataclass
class ServedGitLab(Served):
    """GitLab, where it differs."""

    longest: int = 1_000_000
    prefix: str = "/api/v4"
    edit_method: str = "PUT"
    request_path: str = "/projects/campus/topologies/merge_requests/7"
    notes_path: str = "/projects/campus/topologies/merge_requests/7/notes"
    note_path: str = "/projects/campus/topologies/merge_requests/7/notes"
    status_path: str = "/projects/campus/topologies/statuses"

    def user(self) -> Any:
        """Return the user of the token."""
        return {"id": int(self.me), "username": "planner"}

    def review(self) -> Any:
        """Return the merge request."""
        return {"iid": 7, "sha": self.head}

    def shown(self, note: Note) -> Any:
        """Return a note as the API does."""
        return {"id": note.number, "body": note.body, "author": {"id": int(note.author)}, "system": note.system}

    def page_headers(self, path: str, size: int, number: int, last: int) -> dict[str, str]:
        """Return the headers that lead to other pages; the link has a host that is not ours, as behind proxies."""
        following = str(number + 1) if number < last else ""
        link = f'<http://internal.example{path}?per_page={size}&page={following}>; rel="next"'
        return {"X-Next-Page": following, **({"Link": link} if following else {})}

    def set_status(self, commit: str, data: Any) -> tuple[int, dict[str, str], Any]:
        """Set a status; GitLab refuses the state that is set."""
        if data["state"] not in {"pending", "running", "success", "failed", "canceled"}:
            return 400, {}, {"error": "state does not have a valid value"}
        if any((sha, old["state"]) == (commit, data["state"]) for sha, old in self.statuses):
            return 400, {}, {"message": f"Cannot transition status via :run from :{data['state']}"}
        self.statuses.append((commit, data))
        return 201, {}, {"id": 1}


@contextmanager
def serving(site: Served, tls: ssl.SSLContext | None = None) -> Iterator[Served]:
    """Serve a site on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def do(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, json.loads(text) if text else None)
            site.requests.append(request)
            if site.faults:
                site.faults.popleft()(self)
                return
            found = site.answer(request)
            if site.after and request.method != "GET":
                site.after.popleft()(self)
                return
            reply(*found)(self)

        do_GET = do_POST = do_PUT = do_PATCH = do  # noqa: N815 - the names that http.server calls

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        site.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}"
        try:
            yield site
        finally:
            server.shutdown()


def reply(status: int, headers: dict[str, str] | None = None, data: Any = None, *, raw: bytes | None = None) -> Fault:
    """Answer with this."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = json.dumps(data).encode() if raw is None else raw
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Connection": "close", **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    return answer


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True


def drip(seconds: float) -> Fault:
    """Send a body byte by byte, so that no single read is slow."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        end = time.monotonic() + seconds
        handler.close_connection = True
        try:
            while time.monotonic() < end:
                handler.wfile.write(b" ")
                time.sleep(0.02)
        except OSError:
            return  # the reader has had enough

    return answer


def fall_silent(seconds: float) -> Fault:
    """Send nothing for a time."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return answer
