"""webhook_delivery, against real HTTP servers on this machine."""

from __future__ import annotations

import re
from typing import Any

import pytest
from standardwebhooks import Webhook

from haulier.kinds import Fail, Retry, StopReason
from tests.kinds.kinds_tools import (
    SECRET,
    a_context,
    cancelled_once,
    error_of,
    perform,
    run,
)


def deliver(url: str, body: Any = None, **given: Any) -> Any:
    payload = {"url": url, "body": body, **given.pop("payload", {})}
    return run("webhook_delivery", payload, **given)


def test_delivery_arrives_as_json_with_a_signature_by_each_secret(receiver):
    newer = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
    bodies = [{"order": 42, "name": "Zoë 😀", "nested": [1, None, 2.5]}, None, 0, "text", [], False, {"a": None}]

    results = [deliver(f"{receiver.url}/hooks?a=b", body, webhook_secret=f"{newer} {SECRET}") for body in bodies]

    assert {result["status"] for result in results} == {200}
    for request, body in zip(receiver.requests, bodies, strict=True):
        assert (request.method, request.path) == ("POST", "/hooks?a=b")
        assert request.headers["content-type"] == "application/json"
        for secret in (newer, SECRET):
            assert Webhook(secret).verify(request.body, request.headers) == body


def test_webhook_id_is_the_job_id_in_every_attempt(receiver):
    context = a_context("webhook_delivery", {"url": receiver.url, "body": 1})

    perform(context)
    perform(context)

    assert [request.headers["webhook-id"] for request in receiver.requests] == [str(context.job.id)] * 2


def test_headers_and_event_of_the_caller_arrive(receiver):
    headers = {"Authorization": "Bearer 4f9c", "Content-Type": "application/cloudevents+json"}

    deliver(receiver.url, 1, payload={"headers": headers, "event": "order.paid"})

    sent = receiver.requests[0].headers
    assert sent["authorization"] == "Bearer 4f9c"
    assert sent["content-type"] == "application/cloudevents+json"
    assert sent["webhook-event"] == "order.paid"


def test_status_decides_whether_a_delivery_is_tried_again(receiver, start_receiver):
    elsewhere = start_receiver()
    outcomes = {}
    for status in (200, 201, 202, 204, 299):
        receiver.replies(status)
        assert deliver(receiver.url)["status"] == status
    for status in (408, 425, 429, 500, 502, 503, 504, 599):
        receiver.replies(status)
        outcomes[f"Retry: .* answered {status}"] = error_of(deliver, receiver.url)
    for status in (400, 401, 403, 404, 405, 409, 410, 413, 422, 451):
        receiver.replies(status, Retry_After="5")
        outcomes[f"Fail: .* answered {status}"] = error_of(deliver, receiver.url)
    for status in (301, 302, 303, 304, 307, 308):
        receiver.replies(status, Location=elsewhere.url)
        outcomes[f"Fail: .* {status}.*redirects are not followed"] = error_of(deliver, receiver.url)

    assert [each for each in outcomes.items() if not re.match(*each)] == []
    assert not elsewhere.requests


def test_retry_after_in_seconds_sets_the_delay_up_to_an_hour(receiver):
    for header, seconds in ({}, None), ({"Retry_After": "120"}, 120), ({"Retry_After": "86400"}, 3600):
        receiver.replies(429, **header)

        with pytest.raises(Retry) as caught:
            deliver(receiver.url)

        assert caught.value.seconds == seconds


def test_errors_show_nothing_of_the_answer_or_the_urls_password(receiver):
    def answer(handler: Any, request: Any) -> None:
        handler.send_response(404, "secret reason")
        handler.send_header("X-Internal", "secret header")
        handler.end_headers()
        handler.wfile.write(b"secret body")

    receiver.answer = answer

    error = error_of(deliver, f"http://ann:p%40ss@127.0.0.1:{receiver.port}/T0/B0/x7f9?token=abc")

    assert receiver.requests[0].headers["authorization"] == "Basic YW5uOnBAc3M="
    assert error == f"Fail: POST http://127.0.0.1:{receiver.port} answered 404 Not Found"


def test_proxies_and_netrc_of_the_environment_are_ignored(receiver, monkeypatch, tmp_path):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ann password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))

    deliver(receiver.url)

    assert "authorization" not in receiver.requests[0].headers


def test_cancel_ends_a_delivery_that_waits_for_its_answer(listen):
    received: list[bytes] = []
    port = listen(lambda sock: [received.append(sock.recv(65536)), sock.recv(1), sock.recv(1)])
    context = a_context("webhook_delivery", {"url": f"http://127.0.0.1:{port}/", "body": 1})

    with cancelled_once(lambda: received, context):
        perform(context)


def test_stop_after_the_answer_does_not_undo_the_delivery(receiver):
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


def test_header_that_cannot_be_sent_is_final_and_named():
    for headers, complaint in (
        ({"Webhook-Id": "x"}, "headers.Webhook-Id: This header is set"),
        ({"Host": "x"}, "headers.Host: This header is set"),
        ({"Content-Length": "0"}, "headers.Content-Length"),
        ({"X-A": "b\r\nX-C: d"}, "headers.X-A.value: Must be printable"),
        ({"X-A": "b\n"}, "headers.X-A.value: Must be printable"),
        ({"X A": "b"}, "headers.X A.key: Must be a valid header"),
    ):
        with pytest.raises(Fail, match=complaint):
            run("webhook_delivery", {"url": "http://a.b/", "body": 1, "headers": headers})
