"""Calls one Haulier: with a deadline, again if that is safe, and with errors that fit on a line."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from errno import EFBIG
from typing import TYPE_CHECKING, Any

from haulier.cli.client.client_errors import Code, Refused, Unreachable
from haulier.cli.client.service import Service
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
NO_KEY = {401, 403}
# Twice the longest list of jobs, each byte of which is escaped; compressed, a server could send any number of them.
MOST_BYTES = 128 * 2**20
# Of an answer's headers what says how it was made, and where to continue; none of them can hold a secret.
SHOWN = ("content-type", "retry-after", "location", "next-cursor", "looked-back-to", "x-request-id")


@dataclass(frozen=True, slots=True)
class Call:
    """A request. `is_safe` says that to send it twice does no more than once. Units: seconds."""

    method: str
    path: str
    query: Query = ()
    body: Json = None
    raw: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_safe: bool = False
    seconds: float = DEADLINE_SECONDS


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service has answered. `at` is when, by its clock, or by ours if it does not say."""

    status: int
    headers: Mapping[str, str]
    body: Json
    at: datetime


class Api:
    """The API of one service. `note` gets the reason why a call is sent again, trace what was sent and answered."""

    def __init__(
        self, service: Service, *, note: Callable[[str], None], trace: Callable[[str], None] | None = None
    ) -> None:
        self.service = service
        self._note, self._trace = note, trace
        self._key: str | None = None
        self._session: requests.Session | None = None
        self._has_answered = False
        self._woken = threading.Event()

    @property
    def was_called(self) -> bool:
        """Return whether the service was called, by this or by a twin."""
        return self._session is not None

    def twin(self) -> Api:
        """Return another, for another thread: connections are not shared."""
        twin = Api(self.service, note=self._note, trace=self._trace)
        self._connected()
        twin._key, twin._has_answered = self._key, self._has_answered
        return twin

    def close(self) -> None:
        """Close its connections."""
        if self._session is not None:
            self._session.close()

    def get(self, path: str, query: Query = ()) -> Answer:
        """Return the answer to a GET. Raises: Refused; Unreachable."""
        return self.send(Call("GET", path, query, is_safe=True))

    def send(self, call: Call) -> Answer:
        """Return the answer to a call, after as many attempts as are safe. Raises: Refused; Unreachable."""
        failed = 0
        while True:
            try:
                return self._ask(call)
            except (Refused, Unreachable) as trouble:
                wait = self._wait_before_another(call, trouble, failed)
                if wait is None:
                    raise
                failed += 1
                self._note(f"{trouble}; retrying in {wait:g} s")
                self._woken.wait(wait)

    def _wait_before_another(self, call: Call, trouble: Refused | Unreachable, failed: int) -> float | None:
        if isinstance(trouble, Refused):
            # 429 is answered before anything is done; after 503 it may have been.
            is_safe = trouble.status == 429 or trouble.status == 503 and call.is_safe
            pauses: tuple[float, ...] = PAUSES
        else:
            is_safe = trouble.may_pass and (call.is_safe or not trouble.was_sent)
            pauses = PAUSES if self._has_answered or trouble.was_sent else FIRST_PAUSES
        if not is_safe or failed >= len(pauses):
            return None
        asked = trouble.retry_after if isinstance(trouble, Refused) else None
        return pauses[failed] if asked is None else min(asked, LONGEST_PAUSE)

    def _ask(self, call: Call) -> Answer:
        response, body = self._exchanged(call)
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
            raise self._stranger(response) from None
        return Answer(response.status_code, response.headers, value, _said_at(response))

    def _exchanged(self, call: Call) -> tuple[requests.Response, bytes]:
        import requests
        from urllib3.exceptions import HTTPError

        session = self._connected()
        request = session.prepare_request(self._request(call))
        self._trace_request(request)
        until = time.monotonic() + call.seconds
        # No verify of ours: the environment may name the authorities of a company.
        settings = session.merge_environment_settings(request.url, {}, True, None, None)
        try:
            with session.send(request, timeout=call.seconds, allow_redirects=False, **settings) as response:
                return response, b"".join(_pieces(response, until))
        except (requests.RequestException, HTTPError, OSError) as error:
            raise self._unreachable(error, call.seconds) from None

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
            auth=_sent_as(self._key),
        )

    def _connected(self) -> requests.Session:
        if self._session is None:
            import requests

            self._session = requests.Session()
            # Follow no redirect. Without this, requests parses Location all the same, and fails if it is not a URL.
            self._session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]
            # A proxy of the environment is for other machines.
            self._session.trust_env = not self.service.is_local
            self._session.headers["User-Agent"] = f"haulier/{version()}"
            self._key = self._key or self.service.read_key()
        return self._session

    def _trace_request(self, request: requests.PreparedRequest) -> None:
        if self._trace:
            self._trace(f"> {request.method} {request.url}")
            for name, value in request.headers.items():
                self._trace(f"> {name}: {'Bearer (not shown)' if name == 'Authorization' else value}")

    def _refusal(self, response: requests.Response, body: bytes) -> Refused:
        """Return the error in the words of the service."""
        try:
            said = json.loads(body)
            slug, message = str(said["error"]), str(said["message"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return self._stranger(response)
        code = _code_of(response.status_code)
        verb = " refuses" if code in (Code.REFUSED, Code.NO_KEY) else ""
        request_id = said.get("request_id") or response.headers.get("X-Request-Id")
        about = f" (request {request_id})" if request_id else ""
        refused = Refused(f"{self.service.host}{verb}: {message}{about}", code, status=response.status_code, slug=slug)
        return _to_be_repeated(refused, response)

    def _stranger(self, response: requests.Response) -> Refused:
        host, status = self.service.host, response.status_code
        if 300 <= status < 400:
            to = response.headers.get("Location", "elsewhere")
            return Refused(f"{host} redirects to {to}: use that as the URL", Code.UNREACHABLE, status=status)
        said = f"{host} answers {status}, but not like Haulier: is the URL {self.service.url} right?"
        return _to_be_repeated(Refused(said, Code.UNREACHABLE, status=status), response)

    def _unreachable(self, error: BaseException, seconds: float) -> Unreachable:
        host, causes = self.service.host, list(_causes(error))
        names = {type(each).__name__ for each in causes}
        if names & {"ConnectTimeout", "ReadTimeout", "ReadTimeoutError", "ConnectTimeoutError", "TimeoutError"}:
            was_sent = not names & {"ConnectTimeout", "ConnectTimeoutError"}
            return Unreachable(f"{host} did not answer within {seconds:g} s", was_sent=was_sent)
        reason = next((each.strerror for each in causes if isinstance(each, OSError) and each.strerror), "")
        if "SSLError" in names or "InvalidURL" in names or "InvalidHeader" in names:
            said = f"{host} cannot be reached safely: {reason or 'TLS'}"
            return Unreachable(said, was_sent=False, may_pass=False)
        if names & {"NewConnectionError", "NameResolutionError", "ProxyError"}:
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
    while piece := response.raw.read1(PIECE, decode_content=True):
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
        reason = getattr(error, "reason", None)
        error = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__


def _code_of(status: int) -> Code:
    if status in NO_KEY:
        return Code.NO_KEY
    if status == 404:
        return Code.NOT_FOUND
    return Code.UNREACHABLE if status >= 500 else Code.REFUSED


def _to_be_repeated(refused: Refused, response: requests.Response) -> Refused:
    asked = response.headers.get("Retry-After", "")
    refused.retry_after = float(asked) if re.fullmatch(r"[0-9]{1,9}", asked) else None
    return refused


def _said_at(response: requests.Response) -> datetime:
    try:
        # Without a zone it is UTC, which `astimezone` would not assume.
        said = parsedate_to_datetime(response.headers["Date"])
        return said if said.tzinfo else said.replace(tzinfo=UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        return datetime.now(UTC)
