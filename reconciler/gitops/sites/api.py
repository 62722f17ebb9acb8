"""Calls the REST API of a Git hosting site: one origin, one token, and bounds for time, size and attempts.

The token is sent to the origin of the base URL and nowhere else: redirects and links to other places are refused.
Temporary faults are tried again with increasing waits. A request that must not happen twice is tried again only if the
site says that it did nothing, which is what a rate limit says.
"""

from __future__ import annotations

import json
import random
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, SSLError

from reconciler import __version__
from reconciler.errors import SiteError, SiteRefused, SiteUnanswered, UsageError
from reconciler.spec.quoting import shown

_LOCAL: Final = ("127.0.0.1", "localhost", "::1")
_PORTS: Final = {"https": 443, "http": 80}
_REDIRECTS: Final = (301, 302, 307, 308)
_MOST_REDIRECTS: Final = 3
_FAULTS: Final = (408, 500, 502, 503, 504)
_FORBIDDEN: Final = 403
_TOO_MANY: Final = 429
_MOST_PAGES: Final = 500
_CHUNK: Final = 65_536
_LONGEST_WAIT: Final = 30.0
_SECONDARY: Final = 60.0
"""Seconds to wait for GitHub's secondary rate limit, if it names no time: its documentation asks for a minute."""
_NEXT: Final = re.compile(r'<([^<>]*)>\s*(?:;[^,<]*)?;\s*rel="?next"?')


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that a request may take; times in seconds."""

    connect: float = 10
    silence: float = 30
    """Until the next bytes arrive."""
    answer: float = 120
    """For the whole body of an answer."""
    size: int = 128 * 1024 * 1024
    """Bytes of an answer: a page of GitLab can have 100 notes of 1 MB."""
    attempts: int = 5
    waiting: float = 300
    """All waits of one request together."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The clock, in seconds since 1970, how to wait, and a random number below 1 that keeps jobs apart."""

    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random


@dataclass(frozen=True, slots=True)
class Answer:
    """What the site answered; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the site did what it was asked."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the class of success in HTTP

    def message(self) -> str:
        """Return the site's explanation of an error."""
        try:
            data = json.loads(self.body)
        except (ValueError, RecursionError):
            return ""
        if not isinstance(data, dict):
            return ""
        said = data.get("message") or data.get("error") or ""
        details = data.get("errors")
        said = said if isinstance(said, str) else json.dumps(said)
        return f"{said} {json.dumps(details)}" if details else said


@dataclass(frozen=True)
class Api:
    """The API of one site.

    `name` is the site's, for messages; `base` the URL that paths are added to; `headers` present the token; `hints` say
    what to do about a status.
    """

    name: str
    base: str
    token: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    hints: Mapping[int, str]
    bounds: Bounds = Bounds()
    timing: Timing = Timing()
    _pool: urllib3.PoolManager = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check base URL and token; raises UsageError."""
        scheme, host, _ = _origin(self.base)
        if scheme != "https" and not (scheme == "http" and host in _LOCAL):
            raise UsageError(f"{shown(self.base)} is not the URL of an API", hint="it begins with https://")
        parts = urlsplit(self.base)
        if not host or parts.username or parts.password or parts.query or parts.fragment:
            raise UsageError("the URL of the API has more than host and path", hint="as https://git.example.org/api/v4")
        if not re.fullmatch(r"[!-~]+", self.token):
            raise UsageError(f"the token for {self.name} is empty or has characters that no token has")
        object.__setattr__(self, "_pool", _pool_to(scheme, host))

    def get(self, path: str) -> Answer:
        """Read; returns the answer of any status that is not temporary."""
        return self._repeated("GET", self._url(path), None, repeatable=True)

    def send(self, method: str, path: str, data: Mapping[str, Any], *, repeatable: bool = True) -> Answer:
        """Write, with JSON; raises SiteRefused, or SiteUnanswered if it is unknown whether the site did it."""
        answer = self._repeated(method, self._url(path), json.dumps(data).encode("utf-8"), repeatable=repeatable)
        if not answer.ok:
            raise self.refusal(method, path, answer)
        return answer

    def read(self, path: str) -> bytes:
        """Return the body of a successful answer; raises SiteRefused."""
        answer = self.get(path)
        if not answer.ok:
            raise self.refusal("GET", path, answer)
        return answer.body

    def pages(self, path: str) -> Iterator[bytes]:
        """Yield the body of every page of a list, 100 entries each."""
        url: str | None = self._url(f"{path}{'&' if '?' in path else '?'}per_page=100")
        for _ in range(_MOST_PAGES):
            if url is None:
                return
            answer = self._repeated("GET", url, None, repeatable=True)
            if not answer.ok:
                raise self.refusal("GET", path, answer)
            yield answer.body
            url = self._next_page(url, answer.headers)
        raise SiteError(f"{self.name} has more than {_MOST_PAGES} pages of {path}")

    def refusal(self, method: str, path: str, answer: Answer) -> SiteRefused:
        """Return the error that an answer means."""
        said = self._safe(answer.message())
        summary = f"{self.name} answered {answer.status} to {method} {path.partition('?')[0]}"
        hint = self.hints.get(answer.status)
        return SiteRefused(f"{summary}: {said}" if said else summary, status=answer.status, hint=hint)

    def _url(self, path: str) -> str:
        return self.base.rstrip("/") + path

    def _safe(self, text: str) -> str:
        """Return a text of the site for a message, without the token if the site repeats it."""
        return shown(text.replace(self.token, "***"), quote=False)

    def _repeated(self, method: str, url: str, body: bytes | None, *, repeatable: bool) -> Answer:
        """Send a request, again after temporary faults; raises SiteError."""
        path, left = urlsplit(url).path, self.bounds.waiting
        for attempt in range(self.bounds.attempts):
            asked: float | None = None
            try:
                answer = self._redirected(method, url, body)
            except HTTPError as error:
                problem: SiteError = self._unanswered(method, path, error)
                certain = False
                if _is_distrusted(error):
                    raise problem from error
            else:
                certain, asked = self._is_limited(answer), self._asked_wait(answer)
                if not certain and answer.status not in _FAULTS:
                    return answer
                problem = self._temporary(method, path, answer, asked)
            wait = min(2.0**attempt, _LONGEST_WAIT) * (1 + self.timing.jitter()) / 2 if asked is None else asked
            if attempt + 1 == self.bounds.attempts or wait > left:
                raise problem
            left -= wait
            self.timing.sleep(wait)
            if not (repeatable or certain):
                raise problem  # after the wait, because the caller now reads what was done
        raise SiteError(f"no attempt to reach {self.name} is allowed")

    def _unanswered(self, method: str, path: str, error: HTTPError) -> SiteUnanswered:
        hint = "check the URL of the API, the network and the proxy"
        if _is_distrusted(error):
            hint = "if the site's certificate is from a CA of your own, name its file in SSL_CERT_FILE"
        return SiteUnanswered(f"{self.name} gave no answer to {method} {path}: {self._safe(str(error))}", hint=hint)

    def _temporary(self, method: str, path: str, answer: Answer, asked: float | None) -> SiteError:
        if self._is_limited(answer):
            until = f"; it ends in {asked:.0f} s" if asked is not None else ""
            hint = "try again later, or use a token with a higher limit"
            return SiteRefused(f"the rate limit of {self.name} is used up{until}", status=answer.status, hint=hint)
        said = self._safe(answer.message())
        summary = f"{self.name} answered {answer.status} to {method} {path}"
        return SiteUnanswered(f"{summary}: {said}" if said else summary, hint="try again later")

    def _is_limited(self, answer: Answer) -> bool:
        if answer.status == _TOO_MANY:
            return True
        marked = "retry-after" in answer.headers or answer.headers.get("x-ratelimit-remaining") == "0"
        return answer.status == _FORBIDDEN and (marked or "rate limit" in answer.message())

    def _asked_wait(self, answer: Answer) -> float | None:
        """Return how many seconds the site asks to wait."""
        headers, now = answer.headers, self.timing.clock()
        if (after := headers.get("retry-after", "")).isdecimal():
            return float(after[:9])
        if after:
            try:
                return max(parsedate_to_datetime(after).timestamp() - now, 0)
            except ValueError:
                return None
        reset = headers.get("x-ratelimit-reset") or headers.get("ratelimit-reset") or ""
        if self._is_limited(answer) and reset.isdecimal():
            return max(float(reset[:12]) - now, 0) + 1
        return _SECONDARY if answer.status == _FORBIDDEN and self._is_limited(answer) else None

    def _redirected(self, method: str, url: str, body: bytes | None) -> Answer:
        """Send a request, and again to where the site has moved it within its own origin."""
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._once(method, url, body)
            if answer.status not in _REDIRECTS or "location" not in answer.headers:
                return answer
            url = self._own(urljoin(url, answer.headers["location"]))
        raise SiteError(f"{self.name} redirects more than {_MOST_REDIRECTS} times")

    def _own(self, url: str) -> str:
        """Return a URL that the site gave; raises SiteError if it is of another origin, where the token must not go."""
        if _origin(url) != _origin(self.base):
            place = shown("://".join(str(part) for part in _origin(url)[:2]))
            hint = "if that is the right site, give it with --api-url"
            raise SiteError(f"{self.name} leads to {place}, where the token is not sent", hint=hint)
        return url

    def _once(self, method: str, url: str, body: bytes | None) -> Answer:
        """Send one request and read its answer; raises urllib3's HTTPError, and SiteError for one that is too large."""
        headers = {**self.headers, "User-Agent": f"reconciler/{__version__}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        response = self._pool.request(
            method,
            url,
            body=body,
            headers=headers,
            preload_content=False,
            redirect=False,
            retries=False,
            timeout=urllib3.Timeout(connect=self.bounds.connect, read=self.bounds.silence),
        )
        try:
            return Answer(
                response.status, {name.lower(): value for name, value in response.headers.items()}, self._body(response)
            )
        finally:
            response.close()  # without reading what is left

    def _body(self, response: urllib3.BaseHTTPResponse) -> bytes:
        chunks, size, end = [], 0, time.monotonic() + self.bounds.answer
        while chunk := response.read1(_CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > self.bounds.size:
                raise SiteError(f"an answer of {self.name} has more than {self.bounds.size} bytes")
            if time.monotonic() > end:
                raise HTTPError(f"the answer took longer than {self.bounds.answer:g} s")
        return b"".join(chunks)

    def _next_page(self, url: str, headers: Mapping[str, str]) -> str | None:
        if "x-next-page" in headers:  # rather than the link, whose host is often wrong behind a proxy
            if not headers["x-next-page"].isdecimal():
                return None
            parts = urlsplit(url)
            query = {**dict(parse_qsl(parts.query)), "page": headers["x-next-page"]}
            return parts._replace(query=urlencode(query)).geturl()
        found = _NEXT.search(headers.get("link", ""))
        return self._own(urljoin(url, found[1])) if found else None


def _is_distrusted(error: HTTPError) -> bool:
    """Whether the certificate of the site is not accepted, which no further attempt changes."""
    return isinstance(error, SSLError) and any(isinstance(one, ssl.SSLCertVerificationError) for one in error.args)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:  # a port that is no number, or half of an IPv6 address
        return "", None, None


def _pool_to(scheme: str, host: str) -> urllib3.PoolManager:
    """Return connections to a host, through the proxy that the environment names for it."""
    proxy = getproxies().get(scheme)
    if not proxy or host in _LOCAL or proxy_bypass(host):
        return urllib3.PoolManager()
    parts = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
    login = urllib3.make_headers(proxy_basic_auth=unquote(parts.auth)) if parts.auth else None
    return urllib3.ProxyManager(parts._replace(auth=None).url, proxy_headers=login)
