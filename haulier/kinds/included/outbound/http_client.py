"""HTTP to the URLs that jobs name: each address is checked before the connection, so that no job reaches private ones.

A name is resolved once, and the connection is made to the address that was checked; a name server that answers
differently the second time gains nothing. The certificate is checked against the name in the URL.
The environment's proxies, netrc files and cookies are ignored.
"""

from __future__ import annotations

import base64
import logging
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from http.client import HTTPException, IncompleteRead, LineTooLong, responses
from typing import Literal
from urllib.parse import unquote, urljoin

import certifi
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationParseError, ProtocolError, ReadTimeoutError
from urllib3.response import BaseHTTPResponse
from urllib3.util import parse_url

from haulier.kinds.included.outbound.addresses import SocketAddress, guard, resolve
from haulier.kinds.included.outbound.deadline import Deadline
from haulier.kinds.sdk.endings import Fail, JobCancelled, Retry

CONNECT_SECONDS = 10.0
MAX_ADDRESSES = 4
MAX_REDIRECTS = 4
CHUNK = 64 * 1024
REDIRECTS = frozenset((301, 302, 303, 307, 308))
RETRIED = frozenset((408, 425, 429))

# urllib3's warning about a malformed answer quotes the whole URL, which may hold a secret.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Url:
    """An http(s) URL, parsed once, so that the request goes to the very host that was checked.

    `origin` is the part that may be shown (scheme, host, port): paths and queries may hold tokens, too.
    """

    scheme: str
    host: str
    port: int
    request_uri: str = field(repr=False)
    authorization: str | None = field(repr=False)
    origin: str

    @classmethod
    def parse(cls, text: str) -> Url:
        """Return the URL's parts; a user and password in it become Basic authorization. Raises: Fail."""
        try:
            if re.search(r"[\x00-\x20\x7f\\]", text):
                raise ValueError
            parts = parse_url(text)
        except (LocationParseError, ValueError):
            raise Fail("the URL is malformed") from None
        if parts.scheme not in ("http", "https") or not parts.host or parts.port == 0:
            raise Fail("the URL must begin with http:// or https:// and have a host")
        return cls(
            scheme=parts.scheme,
            host=parts.host.strip("[]"),
            port=parts.port or (443 if parts.scheme == "https" else 80),
            request_uri=parts.request_uri,
            authorization=_basic(parts.auth) if parts.auth else None,
            origin=f"{parts.scheme}://{parts.netloc}",
        )


class HttpResponse:
    """The answer to a request: status and headers have been read, the body has not."""

    def __init__(self, response: BaseHTTPResponse, deadline: Deadline, asked: str) -> None:
        self.status = response.status
        self.headers = response.headers
        self.summary = f"{asked} answered {response.status} {responses.get(response.status, '')}".rstrip()
        self._response = response
        self._deadline = deadline
        self._asked = asked

    def read(self, limit: int) -> bytes:
        """Return the whole body. Raises: Fail if it is longer than the limit, Retry, JobCancelled."""
        body = bytearray()
        while chunk := self._chunk():
            body += chunk
            if len(body) > limit:
                raise Fail(f"{self._asked} sent more than {limit} bytes")
        return bytes(body)

    def discard(self) -> None:
        """Read a short body to its end, so that the sender does not see a reset connection; errors are ignored."""
        self._deadline.shorten(1.0)
        # Suppress everything: the request was delivered, and another attempt would deliver it again.
        with suppress(Exception, JobCancelled):
            self._deadline.hold()
            for _ in range(4):
                if not self._chunk():
                    return

    def _chunk(self) -> bytes:
        with _network_errors(self._asked):
            chunk = self._response.read(CHUNK, decode_content=False)
        # A connection that the deadline has cut looks like one that the peer has closed.
        self._deadline.check()
        return chunk


@contextmanager
def exchange(
    deadline: Deadline, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> Iterator[HttpResponse]:
    """Send one request and yield its answer, whatever its status; redirects are left to the caller.

    Raises: Fail for an address that may not be reached, Retry for any error of the network, JobCancelled.
    """
    target = Url.parse(url)
    asked = f"{method} {target.origin}"
    sent = {"user-agent": "Haulier", "connection": "close"}
    if target.authorization:
        sent["authorization"] = target.authorization
    sent |= {name.lower(): value for name, value in (headers or {}).items()}
    allowed = guard(deadline.context.settings.outbound_allow_private)
    addresses = resolve(target.host, target.port, allowed, deadline)
    connection, response = _prepare(target, addresses, deadline), None
    try:
        with _network_errors(asked):
            connection.connect()
            # A server may answer and close before it has read the whole request: read its answer all the same.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, target.request_uri, body, sent, preload_content=False, decode_content=False)
            response = connection.getresponse()
        # Headers that the deadline has cut short look complete.
        deadline.check()
        yield HttpResponse(response, deadline, asked)
    finally:
        if response is not None:
            response.close()
        connection.close()


def download(deadline: Deadline, url: str, limit: int) -> bytes:
    """Return the content at the URL; up to four redirects are followed, each checked like the first URL.

    Units:  limit is bytes.
    Raises: Fail, Retry, JobCancelled.
    """
    for _ in range(1 + MAX_REDIRECTS):
        with exchange(deadline, "GET", url) as answer:
            if answer.status not in REDIRECTS:
                expect_success(answer)
                return answer.read(limit)
            onward = _onward(url, answer)
        if url.lower().startswith("https:") and not onward.lower().startswith("https:"):
            raise Fail(f"{answer.summary}: a redirect from https to another scheme is not followed")
        url = onward
    raise Fail(f"{answer.summary}: more than {MAX_REDIRECTS} redirects")


def _onward(url: str, answer: HttpResponse) -> str:
    try:
        return urljoin(url, answer.headers.get("location", ""))
    except ValueError:
        raise Fail(f"{answer.summary}: it redirects to an invalid URL") from None


def expect_success(answer: HttpResponse) -> None:
    """Return on 2xx. Raises: Retry on 408, 425, 429 and 5xx, when Retry-After says; Fail on every other status."""
    if 200 <= answer.status < 300:
        return
    if answer.status in RETRIED or answer.status >= 500:
        raise Retry.after(answer, answer.summary)
    raise Fail(answer.summary)


@lru_cache(maxsize=2)
def tls_context(use: Literal["http", "smtp"]) -> ssl.SSLContext:
    """Return the TLS settings: the machine's certificate authorities (SSL_CERT_FILE too) and those of certifi.

    HTTP and SMTP have a context each, because urllib3 changes the context that it gets.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class _Pinned(HTTPConnection):
    """A connection to an address that was checked, under the name of the URL's host."""

    dial: Callable[[], socket.socket]

    def _new_conn(self) -> socket.socket:
        return self.dial()


class _PinnedTls(HTTPSConnection):
    """The same with TLS: server name and certificate belong to the URL's host, not to the address."""

    dial: Callable[[], socket.socket]

    def _new_conn(self) -> socket.socket:
        return self.dial()


def _prepare(target: Url, addresses: Sequence[SocketAddress], deadline: Deadline) -> _Pinned | _PinnedTls:
    connection: _Pinned | _PinnedTls
    if target.scheme == "https":
        connection = _PinnedTls(
            target.host,
            target.port,
            timeout=deadline.patience(),
            ssl_context=tls_context("http"),
            cert_reqs=ssl.CERT_REQUIRED,
        )
    else:
        connection = _Pinned(target.host, target.port, timeout=deadline.patience())
    connection.dial = partial(_connect, addresses, deadline)
    return connection


def _connect(addresses: Sequence[SocketAddress], deadline: Deadline) -> socket.socket:
    """Return a socket connected to the first address that accepts. Raises: OSError, Retry, JobCancelled."""
    failure: OSError = OSError("no address")
    for family, where in addresses[:MAX_ADDRESSES]:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            deadline.adopt(sock)
            sock.settimeout(min(CONNECT_SECONDS, deadline.patience()))
            sock.connect(where)
            sock.settimeout(deadline.patience())
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
    raise failure


def _basic(user_info: str) -> str:
    user, _, password = user_info.partition(":")
    return "Basic " + base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()


@contextmanager
def _network_errors(asked: str) -> Iterator[None]:
    """Turn errors of the network into Retry, with a short text that quotes neither the URL nor the peer.

    http.client raises ValueError and OverflowError for a chunk of negative or impossible size.
    """
    try:
        yield
    except (OSError, HTTPException, HTTPError, ValueError, OverflowError) as error:
        raise Retry(f"{asked} failed: {_what(error)[:200]}") from error


def _what(error: Exception) -> str:
    """Return the text to show for the error; many errors quote what was read, perhaps another service's greeting."""
    if isinstance(error, OSError):
        return str(getattr(error, "strerror", None) or str(error) or type(error).__name__)
    if isinstance(error, LineTooLong) or type(error) is HTTPException:
        # The texts of these two say only what was too long or too many.
        return str(error)
    if isinstance(error, ReadTimeoutError):
        return "timed out"
    return "the response broke off" if isinstance(error, IncompleteRead | ProtocolError) else "the response is not HTTP"
