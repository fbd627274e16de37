"""Calls one Haulier: with a deadline, again if that is safe, and with errors that fit on a line."""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from errno import EFBIG
from functools import cached_property
from typing import TYPE_CHECKING, Any

from haulier.client.api_errors import Refused, Unreachable
from haulier.client.service import Service
from haulier.version import version

if TYPE_CHECKING:
    import requests

Json = Any
Query = Sequence[tuple[str, str]]
DEADLINE_SECONDS = 10.0
# Before each further attempt; Retry-After beats them, up to LONGEST_PAUSE.
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
# If nobody has answered yet, the URL is wrong more often than the service is being started.
FIRST_PAUSES = PAUSES[:2]
LONGEST_PAUSE = 30.0
PIECE = 65536
# What may pass, but may also have been answered after the call was done. 502 and 504 are a proxy's.
PASSING = {502, 503, 504}
# Twice the longest list of jobs, each byte of which is escaped; compressed, a server could send any number of them.
MOST_BYTES = 128 * 2**20
# Of an answer's headers what says how it was made, and where to continue; none of them can hold a secret.
SHOWN = ("content-type", "retry-after", "location", "next-cursor", "looked-back-to", "x-request-id")


@dataclass(frozen=True, slots=True)
class Call:
    """A request. `is_safe` says that to send it twice does no more than once.

    An attempt may take `seconds`, all of them together `within`, if it is set.
    """

    method: str
    path: str
    query: Query = ()
    body: Json = None
    raw: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_safe: bool = False
    seconds: float = DEADLINE_SECONDS
    within: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service has answered. `at` is when, by its clock, or by ours if it does not say."""

    status: int
    headers: Mapping[str, str]
    body: Json
    at: datetime


class Api:
    """The API of one service, which threads may share.

    `note` gets the reason why a call is sent again, trace what was sent and answered. is_known says that the URL is
    right, so that it is worth waiting for the service; within bounds all attempts of a call, in seconds.
    """

    def __init__(
        self,
        service: Service,
        *,
        note: Callable[[str], None],
        trace: Callable[[str], None] | None = None,
        is_known: bool = False,
        within: float = math.inf,
    ) -> None:
        self.service, self._within = service, within
        self._note, self._trace = note, trace
        self._has_answered = is_known
        self._idle: list[requests.Session] = []
        self._process = os.getpid()
        self._woken = threading.Event()

    @cached_property
    def key(self) -> str | None:
        """Return the key, for which a command may run the first time."""
        return self.service.read_key()

    @property
    def was_called(self) -> bool:
        """Return whether the service was called."""
        return "key" in vars(self)

    def close(self) -> None:
        """Close its connections."""
        while self._idle:
            self._idle.pop().close()

    def get(self, path: str, query: Query = ()) -> Answer:
        """Return the answer to a GET. Raises: Refused; Unreachable."""
        return self.send(Call("GET", path, query, is_safe=True))

    def send(self, call: Call) -> Answer:
        """Return the answer to a call, after as many attempts as are safe. Raises: Refused; Unreachable."""
        failed, until = 0, time.monotonic() + (call.within or self._within)
        while True:
            try:
                return self._ask(call, min(call.seconds, max(0.001, until - time.monotonic())))
            except (Refused, Unreachable) as trouble:
                wait = self._wait_before_another(call, trouble, failed)
                if wait is None or time.monotonic() + wait >= until:
                    if isinstance(trouble, Unreachable) and self.service.hint and not trouble.was_sent:
                        trouble.args = (f"{trouble}; {self.service.hint}",)
                    raise
                failed += 1
                self._note(f"{trouble}; retrying in {wait:g} s")
                self._woken.wait(wait)

    def _wait_before_another(self, call: Call, trouble: Refused | Unreachable, failed: int) -> float | None:
        if isinstance(trouble, Refused):
            # 429 is answered before anything is done.
            is_safe = trouble.status == 429 or trouble.status in PASSING and call.is_safe
            pauses: tuple[float, ...] = PAUSES
        else:
            is_safe = trouble.may_pass and (call.is_safe or not trouble.was_sent)
            pauses = PAUSES if self._has_answered or trouble.was_sent else FIRST_PAUSES
        if not is_safe or failed >= len(pauses):
            return None
        asked = trouble.retry_after if isinstance(trouble, Refused) else None
        return pauses[failed] if asked is None else min(asked, LONGEST_PAUSE)

    def _ask(self, call: Call, seconds: float) -> Answer:
        response, body = self._exchanged(call, seconds)
        self._has_answered = True
        if self._trace:
            self._trace(f"< {response.status_code} {response.reason}")
            for name in SHOWN:
                if name in response.headers:
                    self._trace(f"< {name}: {response.headers[name]}")
        if response.status_code >= 300:
            raise self._refusal(response, body)
        try:
            value = json.loads(body) if body else None
        except (ValueError, RecursionError):
            raise self.stranger(response.status_code) from None
        return Answer(response.status_code, response.headers, value, _said_at(response))

    def _exchanged(self, call: Call, seconds: float) -> tuple[requests.Response, bytes]:
        import requests
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        until = time.monotonic() + seconds
        # Else the seconds would be granted to the connection, and again to the answer.
        timeout: Any = Timeout(total=seconds)
        with self._session() as session:
            try:
                request = session.prepare_request(self._request(call))
                self._trace_request(request)
                # No verify of ours: the environment may name the authorities of a company.
                settings = session.merge_environment_settings(request.url, {}, True, None, None)
                with session.send(request, timeout=timeout, allow_redirects=False, **settings) as response:
                    return response, b"".join(_pieces(response, until))
            except (requests.RequestException, HTTPError, OSError) as error:
                raise self._unreachable(error, seconds) from None

    def _request(self, call: Call) -> requests.Request:
        import requests

        headers, data = dict(call.headers), call.raw
        if call.body is not None:
            headers, data = {"Content-Type": "application/json", **headers}, json.dumps(call.body).encode()
        return requests.Request(
            call.method,
            self.service.url + call.path,
            params=list(call.query),
            data=data,
            headers=headers,
            auth=_sent_as(self.key),
        )

    @contextmanager
    def _session(self) -> Iterator[requests.Session]:
        """Lend a session, which only one thread at a time may use."""
        # After a fork, parent and child would read each other's answers from a connection of both.
        if self._process != os.getpid():
            self._idle, self._process = [], os.getpid()
        try:
            session = self._idle.pop()
        except IndexError:
            session = self._new_session()
        try:
            yield session
        finally:
            self._idle.append(session)

    def _new_session(self) -> requests.Session:
        import requests

        session = requests.Session()
        # Follow no redirect. Without this, requests parses Location all the same, and fails if it is not a URL.
        session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]
        # A proxy of the environment is for other machines.
        session.trust_env = not self.service.is_local
        session.headers["User-Agent"] = f"haulier/{version()}"
        return session

    def _trace_request(self, request: requests.PreparedRequest) -> None:
        if self._trace:
            self._trace(f"> {request.method} {request.url}")
            for name, value in request.headers.items():
                self._trace(f"> {name}: {'Bearer (not shown)' if name == 'Authorization' else value}")

    def _refusal(self, response: requests.Response, body: bytes) -> Refused:
        """Return the error in the words of the service."""
        status = response.status_code
        try:
            said = json.loads(body)
            said |= {"error": str(said["error"]), "message": str(said["message"])}
        except (ValueError, TypeError, KeyError, RecursionError):
            refused = self.stranger(status, response.headers.get("Location", "elsewhere"))
        else:
            said["request_id"] = said.get("request_id") or response.headers.get("X-Request-Id")
            about = f" (request {said['request_id']})" if said["request_id"] else ""
            verb = " refuses" if status < 500 and status != 404 else ""
            refused = Refused(f"{self.service.host}{verb}: {said['message']}{about}", status=status, said=said)
        refused.retry_after = _asked_pause(response)
        return refused

    def stranger(self, status: int, to: str = "elsewhere") -> Refused:
        """Return the error of an answer that is not Haulier's."""
        host = self.service.host
        if 300 <= status < 400:
            return Refused(f"{host} redirects to {to}: use that as the URL", status=status)
        text = f"{host} answers {status}, but not like Haulier: is the URL {self.service.url} right?"
        return Refused(text, status=status)

    def _unreachable(self, error: BaseException, seconds: float) -> Unreachable:
        host, causes = self.service.host, list(_causes(error))
        names = {type(each).__name__ for each in causes}
        if names & {"ConnectTimeout", "ReadTimeout", "ReadTimeoutError", "ConnectTimeoutError", "TimeoutError"}:
            was_sent = not names & {"ConnectTimeout", "ConnectTimeoutError"}
            return Unreachable(f"{host} did not answer within {seconds:.3g} s", was_sent=was_sent)
        reason = next((each.strerror for each in causes if isinstance(each, OSError) and each.strerror), "")
        if "SSLError" in names or "InvalidURL" in names or "InvalidHeader" in names:
            said = f"{host} cannot be reached safely: {reason or 'TLS'}"
            return Unreachable(said, was_sent=False, may_pass=False)
        # urllib3 also names so a connection that a proxy has closed with the request in its hands.
        is_proxys = "ProxyError" in names and not any(isinstance(each, ConnectionError) for each in causes)
        if names & {"NewConnectionError", "NameResolutionError"} or is_proxys:
            return Unreachable(f"{host} cannot be reached: {reason or 'no connection'}", was_sent=False)
        return Unreachable(f"the connection to {host} broke: {reason or 'it was closed'}", was_sent=True)


def _sent_as(key: str | None) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Return what adds the key. Also if there is none: else requests would look into ~/.netrc for another."""

    def add(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if key is not None:
            request.headers["Authorization"] = f"Bearer {key}"
        return request

    return add


def _pieces(response: requests.Response, until: float) -> Iterator[bytes]:
    """Yield the body as it comes.

    Raises: TimeoutError at the deadline, which a timeout between bytes is not; OSError after MOST_BYTES.
    """
    left = MOST_BYTES
    # urllib3 1 has only read, which waits for a whole piece.
    read = getattr(response.raw, "read1", response.raw.read)
    while piece := read(PIECE, decode_content=True):
        yield piece
        left -= len(piece)
        if left < 0:
            raise OSError(EFBIG, f"the response is longer than {MOST_BYTES:,} bytes")
        if time.monotonic() > until:
            raise TimeoutError


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen = 0
    while error is not None and seen < 20:
        yield error
        seen += 1
        # The second is ProxyError's in urllib3 1.
        reason = getattr(error, "reason", None) or getattr(error, "original_error", None)
        error = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__


def _asked_pause(response: requests.Response) -> float | None:
    """Return the seconds of Retry-After, which may also be a date."""
    asked = response.headers.get("Retry-After", "")
    if re.fullmatch(r"[0-9]{1,9}", asked):
        return float(asked)
    at = _date(asked)
    return None if at is None else max(0.0, (at - _said_at(response)).total_seconds())


def _said_at(response: requests.Response) -> datetime:
    return _date(response.headers.get("Date", "")) or datetime.now(UTC)


def _date(text: str) -> datetime | None:
    try:
        # Without a zone it is UTC, which `astimezone` would not assume.
        date = parsedate_to_datetime(text)
        return date if date.tzinfo else date.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        return None
