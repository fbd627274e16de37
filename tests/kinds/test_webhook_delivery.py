"""webhook_delivery, against real HTTP servers on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from standardwebhooks import Webhook

from haulier.domain.errors import ConfigError
from haulier.kinds import Fail, JobCancelled, Retry, StopReason, load_kinds
from tests.kinds.kinds_tools import SECRET, SOON, Receiver, a_context, perform, run, settings, stopped_soon


def deliver(url: str, body: Any = None, **given: Any) -> Any:
    payload = {"url": url, "body": body, **given.pop("payload", {})}
    return run("webhook_delivery", payload, **given)


def test_delivery_arrives_as_json_with_a_signature_that_verifies(receiver: Receiver) -> None:
    body = {"order": 42, "name": "Zoë 😀", "nested": [1, None, 2.5]}

    result = deliver(f"{receiver.url}/hooks?a=b", body)

    [request] = receiver.requests
    assert result["status"] == 200
    assert (request.method, request.path) == ("POST", "/hooks?a=b")
    assert request.headers["content-type"] == "application/json"
    assert Webhook(SECRET).verify(request.body, request.headers) == body


@pytest.mark.parametrize("body", [None, 0, "text", [], False, {"a": None}])
def test_body_may_be_any_json_value(receiver: Receiver, body: Any) -> None:
    deliver(receiver.url, body)

    assert json.loads(receiver.requests[0].body) == body


def test_webhook_id_is_the_job_id_in_every_attempt(receiver: Receiver) -> None:
    context = a_context("webhook_delivery", {"url": receiver.url, "body": 1})

    perform(context)
    perform(context)

    assert [request.headers["webhook-id"] for request in receiver.requests] == [str(context.job.id)] * 2


def test_headers_and_event_of_the_caller_arrive(receiver: Receiver) -> None:
    headers = {"Authorization": "Bearer 4f9c", "Content-Type": "application/cloudevents+json"}

    deliver(receiver.url, 1, payload={"headers": headers, "event": "order.paid"})

    sent = receiver.requests[0].headers
    assert sent["authorization"] == "Bearer 4f9c"
    assert sent["content-type"] == "application/cloudevents+json"
    assert sent["webhook-event"] == "order.paid"


def test_two_secrets_sign_side_by_side(receiver: Receiver) -> None:
    newer = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

    deliver(receiver.url, {"a": 1}, webhook_secret=f"{newer} {SECRET}")

    [request] = receiver.requests
    for secret in (newer, SECRET):
        assert Webhook(secret).verify(request.body, request.headers) == {"a": 1}


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_succeeds(receiver: Receiver, status: int) -> None:
    receiver.replies(status)

    assert deliver(receiver.url)["status"] == status


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_passing_trouble_is_tried_again(receiver: Receiver, status: int) -> None:
    receiver.replies(status)

    with pytest.raises(Retry, match=f"answered {status}") as caught:
        deliver(receiver.url)

    assert caught.value.seconds is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 413, 422, 451])
def test_other_4xx_is_final(receiver: Receiver, status: int) -> None:
    receiver.replies(status, Retry_After="5")

    with pytest.raises(Fail, match=f"answered {status}"):
        deliver(receiver.url)


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
def test_redirect_is_final_and_not_followed(
    receiver: Receiver, start_receiver: Callable[..., Receiver], status: int
) -> None:
    elsewhere = start_receiver()
    receiver.replies(status, Location=elsewhere.url)

    with pytest.raises(Fail, match="redirects are not followed"):
        deliver(receiver.url)

    assert not elsewhere.requests


@pytest.mark.parametrize(("asked", "seconds"), [("120", 120), ("3600", 3600), ("86400", 3600), ("9" * 400, 3600)])
def test_retry_after_in_seconds_sets_the_delay_up_to_an_hour(receiver: Receiver, asked: str, seconds: float) -> None:
    receiver.replies(429, Retry_After=asked)

    with pytest.raises(Retry) as caught:
        deliver(receiver.url)

    assert caught.value.seconds == seconds


def test_nobody_listening_is_tried_again(receiver: Receiver) -> None:
    with pytest.raises(Retry, match="refused"):
        deliver("http://127.0.0.1:1/hooks")


def test_connection_closed_without_an_answer_is_tried_again(listen: Callable[..., int]) -> None:
    port = listen(lambda sock: sock.recv(10))

    with pytest.raises(Retry):
        deliver(f"http://127.0.0.1:{port}/")


def test_answer_that_is_not_http_is_tried_again(listen: Callable[..., int]) -> None:
    port = listen(lambda sock: (sock.recv(65536), sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")))

    with pytest.raises(Retry):
        deliver(f"http://127.0.0.1:{port}/")


def test_user_and_password_in_the_url_become_basic_authorization(receiver: Receiver) -> None:
    deliver(f"http://ann:p%40ss@127.0.0.1:{receiver.port}/")

    assert receiver.requests[0].headers["authorization"] == "Basic YW5uOnBAc3M="


def test_errors_show_neither_password_nor_path_nor_query_nor_secret(receiver: Receiver) -> None:
    receiver.replies(404)

    with pytest.raises(Fail) as caught:
        deliver(f"http://ann:hunter2@127.0.0.1:{receiver.port}/T0/B0/x7f9?token=abc")

    assert str(caught.value) == f"POST http://127.0.0.1:{receiver.port} answered 404 Not Found"


def test_private_address_is_refused_without_a_connection(receiver: Receiver) -> None:
    with pytest.raises(Fail, match="127.0.0.1 is refused: it is a loopback address"):
        deliver(receiver.url, outbound_allow_private=())

    assert receiver.connections == 0


def test_proxy_of_the_environment_is_ignored(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert deliver(receiver.url)["status"] == 200


def test_netrc_is_ignored(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ann password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))

    deliver(receiver.url)

    assert "authorization" not in receiver.requests[0].headers


def test_https_is_checked_against_the_name_in_the_url(start_receiver: Callable[..., Receiver], trusted: None) -> None:
    receiver = start_receiver(tls=True)

    assert deliver(f"https://localhost:{receiver.port}/")["status"] == 200


def test_certificate_for_another_name_is_not_accepted(start_receiver: Callable[..., Receiver], trusted: None) -> None:
    receiver = start_receiver(tls=True)

    with pytest.raises(Retry, match="CERTIFICATE_VERIFY_FAILED"):
        deliver(f"https://127.0.0.1:{receiver.port}/")

    assert not receiver.requests


def test_certificate_of_an_unknown_authority_is_not_accepted(start_receiver: Callable[..., Receiver]) -> None:
    receiver = start_receiver(tls=True)

    with pytest.raises(Retry, match="CERTIFICATE_VERIFY_FAILED"):
        deliver(f"https://localhost:{receiver.port}/")


def test_cancel_ends_a_delivery_that_waits_for_its_answer(listen: Callable[..., int]) -> None:
    received: list[bytes] = []
    port = listen(lambda sock: [received.append(sock.recv(65536)), sock.recv(1), sock.recv(1)])
    context = a_context("webhook_delivery", {"url": f"http://127.0.0.1:{port}/", "body": 1})
    started = time.monotonic()

    with stopped_soon(context, lambda: received), pytest.raises(JobCancelled) as caught:
        perform(context)

    assert caught.value.reason is StopReason.CANCELLED
    assert time.monotonic() - started < SOON


def test_receiver_that_drips_is_cut_off_at_the_time_limit(
    listen: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def drip(sock: Any) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            sock.sendall(b"X-A: b\r\n")
            context.wait(0.05)

    monkeypatch.setattr("haulier.kinds.webhook_delivery.SECONDS", 0.5)
    context = a_context("webhook_delivery", {"url": f"http://127.0.0.1:{listen(drip)}/", "body": 1})
    started = time.monotonic()

    with pytest.raises(Retry, match="longer than 0.5 s"):
        perform(context)

    assert time.monotonic() - started < SOON


def test_status_counts_even_where_the_body_never_ends(receiver: Receiver) -> None:
    def endless(handler: Any, request: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 65536)

    receiver.answer = endless

    assert deliver(receiver.url)["status"] == 200


def test_stop_after_the_answer_does_not_undo_the_delivery(receiver: Receiver) -> None:
    context = a_context("webhook_delivery", {"url": receiver.url, "body": 1})

    def answer_half_then_stop(handler: Any, request: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        handler.wfile.write(b"12345")
        handler.wfile.flush()
        context.wait(0.3)
        context.stop(StopReason.SHUTDOWN)

    receiver.answer = answer_half_then_stop

    assert perform(context)["status"] == 200


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        ({"body": 1}, "url: Missing data"),
        ({"url": "http://a.b/"}, "body: Missing data"),
        ({"url": 5, "body": 1}, "url: Not a valid string"),
        ({"url": "ftp://a.b/", "body": 1}, "url: Must be an http"),
        ({"url": "http://a.b/\n", "body": 1}, "url: Must be an http"),
        ({"url": "http://", "body": 1}, "url: Must be an http"),
        ({"url": "http://a.b/" + "x" * 2048, "body": 1}, "url: Longer than"),
        ({"url": "http://a.b/", "body": 1, "headers": {"Webhook-Id": "x"}}, "headers.Webhook-Id: This header is set"),
        ({"url": "http://a.b/", "body": 1, "headers": {"Host": "x"}}, "headers.Host: This header is set"),
        ({"url": "http://a.b/", "body": 1, "headers": {"Content-Length": "0"}}, "headers.Content-Length"),
        ({"url": "http://a.b/", "body": 1, "headers": {"X-A": "b\r\nX-C: d"}}, "headers.X-A.value: Must be printable"),
        ({"url": "http://a.b/", "body": 1, "headers": {"X-A": "b\n"}}, "headers.X-A.value: Must be printable"),
        ({"url": "http://a.b/", "body": 1, "headers": {"X A": "b"}}, "headers.X A.key: Is not a header"),
        ({"url": "http://a.b/", "body": 1, "headers": {"X-A": 5}}, "headers.X-A.value: Not a valid string"),
        ({"url": "http://a.b/", "body": 1, "headers": {f"x-{n}": "" for n in range(51)}}, "at most 50"),
        ({"url": "http://a.b/", "body": 1, "event": "a\nb"}, "event: Must be"),
        ({"url": "http://a.b/", "body": 1, "extra": 1}, "extra: Unknown field"),
    ],
)
def test_payload_that_does_not_fit_is_final_and_names_the_field(payload: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Fail) as caught:
        run("webhook_delivery", payload)

    assert complaint in str(caught.value)


def test_missing_secret_is_final_and_named(receiver: Receiver) -> None:
    with pytest.raises(Fail, match="webhook_delivery needs WEBHOOK_SECRET, which is not set"):
        deliver(receiver.url, webhook_secret=None)

    assert receiver.connections == 0


@pytest.mark.parametrize(
    "secret", ["whsec_", "whsec_not base64!", "whsec_MfKQ9r8GKYqrTwjUPD8I_-_-", "whsec_a", f"{SECRET} whsec_"]
)
def test_secret_that_cannot_sign_stops_the_process(secret: str) -> None:
    with pytest.raises(ConfigError, match="WEBHOOK_SECRET must be whsec_") as caught:
        load_kinds(settings(webhook_secret=secret))

    assert "MfKQ9r8G" not in str(caught.value)
