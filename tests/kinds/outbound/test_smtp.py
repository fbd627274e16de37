"""Handing a mail over: refusals, TLS and logins, SMTP_URL, folders, time; against real SMTP servers on this machine."""

from __future__ import annotations

import os
import re
import stat
from typing import Any

import pytest

from haulier.kinds import Retry, StopReason
from haulier.kinds.included.outbound.smtp import SmtpServer
from tests.kinds.kinds_tools import (
    HELLO,
    a_context,
    a_free_port,
    cancelled_once,
    ends_soon,
    error_of,
    parsed,
    perform,
    run,
    send,
)


def test_answer_of_each_step_decides_and_any_refusal_means_that_nobody_gets_it(mailbox):
    steps, copies = ("MAIL jobs@example.com", "RCPT a@b.c", "DATA"), {"cc": ["c@d.e", "f@g.h"]}
    none = r"Retry: .*refused c@d.e \(1 of 3 recipients; sent to none\): 450 greylisted"
    for refuse, payload, expected in (
        *(({step: "550 5.7.1 not here"}, {}, "Fail: .*550 5.7.1 not here") for step in steps),
        *(({step: "451 4.3.0 later please"}, {}, "Retry: .*451 4.3.0 later please") for step in steps),
        ({"RCPT c@d.e": "450 greylisted"}, copies, none),
        ({"RCPT a@b.c": "450 greylisted", "RCPT c@d.e": "550 no such user"}, copies, "Fail: .*550 no such user"),
    ):
        mailbox.refuse = refuse
        assert re.match(expected, error_of(send, mailbox, **payload)), refuse
        assert not mailbox.mails

    mailbox.refuse = {}
    send(mailbox, **copies)
    assert [mail.recipients for mail in mailbox.mails] == [["a@b.c", "c@d.e", "f@g.h"]]


def test_server_that_cannot_be_used_gets_no_mail_and_no_error_shows_a_password(mailbox, listen):
    greeting = [listen(lambda sock, text=text: sock.sendall(text)) for text in (b"554 no\r\n", b"421 busy\r\n", b"")]
    for url, expected in (
        (f"smtp://127.0.0.1:{a_free_port()}", "Retry: .*cannot be reached"),
        (f"smtp://127.0.0.1:{greeting[0]}", "Fail: "),
        (f"smtp://127.0.0.1:{greeting[1]}", "Retry: "),
        (f"smtp://127.0.0.1:{greeting[2]}", "Retry: "),
        (f"smtp+starttls://ann:hunter2@127.0.0.1:{mailbox.port}", "Fail: .*STARTTLS"),
        (f"smtp://ann:hunter2@127.0.0.1:{mailbox.port}", "Fail: .*refused the user or password of SMTP_URL: 535"),
    ):
        error = error_of(run, "send_email", HELLO, smtp_url=url)

        assert re.match(expected, error), url
        assert "hunter2" not in error
        assert not mailbox.logins or "535" in expected
    assert not mailbox.steps


def test_login_is_encrypted_by_starttls_and_by_smtps(start_mailbox, trusted):
    for tls, url in (
        ("starttls", "smtp+starttls://ann:{}@localhost:{}"),
        ("starttls", "smtp://ann:{}@localhost:{}?starttls"),
        ("starttls", "smtp://ann:{}@localhost:{}?starttls=1"),
        ("tls", "smtps://ann:{}@localhost:{}"),
    ):
        mailbox = start_mailbox(tls=tls)
        run("send_email", HELLO, smtp_url=url.format("opensesame", mailbox.port))

        assert mailbox.logins == [("ann", "opensesame")]
        assert len(mailbox.mails) == 1
        assert tls == "tls" or all(mailbox.encrypted)


@pytest.mark.parametrize(("tls", "scheme"), [("starttls", "smtp+starttls"), ("tls", "smtps")])
def test_certificate_that_does_not_fit_stops_the_login(start_mailbox, request, tls, scheme):
    mailbox = start_mailbox(tls=tls)

    with pytest.raises(Retry, match="CERTIFICATE_VERIFY_FAILED"):
        run("send_email", HELLO, smtp_url=f"{scheme}://ann:opensesame@localhost:{mailbox.port}")
    # Now the authority is known, but the name is not in the certificate.
    request.getfixturevalue("trusted")
    with pytest.raises(Retry, match="CERTIFICATE_VERIFY_FAILED"):
        run("send_email", HELLO, smtp_url=f"{scheme}://ann:opensesame@127.0.0.1:{mailbox.port}")

    assert not mailbox.logins


def test_smtp_url_says_host_port_protection_user_and_password():
    for url, host, port, security in (
        ("smtp://mail.example.com", "mail.example.com", 25, "none"),
        ("smtp://mail.example.com:2525/", "mail.example.com", 2525, "none"),
        ("smtp://a:b@mail.example.com", "mail.example.com", 25, "starttls"),
        ("smtp://a:b@mail.example.com?starttls=never", "mail.example.com", 25, "none"),
        ("smtp://a:b@localhost", "localhost", 25, "none"),
        ("smtp://mail.example.com?starttls", "mail.example.com", 587, "starttls"),
        ("smtp+starttls://a:b@mail.example.com", "mail.example.com", 587, "starttls"),
        ("smtps://a:b@mail.example.com", "mail.example.com", 465, "tls"),
        ("smtps://[2001:db8::1]:99", "2001:db8::1", 99, "tls"),
    ):
        server = SmtpServer.parse(url)
        assert (server.host, server.port, server.security) == (host, port, security), url

    server = SmtpServer.parse("smtps://ann%40example.com:p%2Fss@mail.example.com")
    assert (server.user, server.password) == ("ann@example.com", "p/ss")
    assert "p/ss" not in repr(server)


def test_file_url_writes_the_mail_under_the_job_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("send_email", HELLO, smtp_url="file:var/mail")
    context = a_context("send_email", {**HELLO, "bcc": "secret@i.j"}, smtp_url=f"file://{tmp_path}/mails")

    result = perform(context)
    perform(context)

    assert len(list((tmp_path / "var" / "mail").glob("*.eml"))) == 1
    [file] = (tmp_path / "mails").iterdir()
    assert file.name == f"{context.job.id}.eml"
    assert result["location"] == file.as_uri()
    assert parsed(file.read_bytes())["To"] == "a@b.c"
    assert b"secret@i.j" not in file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_mail_that_cannot_be_written_whole_is_not_there_at_all(tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(Retry, match="No space left"):
        run("send_email", HELLO, smtp_url=f"file://{tmp_path}")

    assert list(tmp_path.iterdir()) == []


def test_cancel_ends_a_conversation_that_hangs(listen):
    greeted: list[bool] = []
    port = listen(lambda sock: [sock.sendall(b"220 hello\r\n"), greeted.append(True), sock.recv(99), sock.recv(99)])
    context = a_context("send_email", HELLO, smtp_url=f"smtp://127.0.0.1:{port}")

    with cancelled_once(lambda: greeted, context):
        perform(context)


def test_server_that_drips_is_cut_off_at_the_time_limit(listen, monkeypatch):
    def drip(sock: Any) -> None:
        while True:
            sock.sendall(b"220-wait\r\n")
            context.wait(0.05)

    monkeypatch.setattr("haulier.kinds.included.send_email.SECONDS", 0.5)
    context = a_context("send_email", HELLO, smtp_url=f"smtp://127.0.0.1:{listen(drip)}")

    with ends_soon(), pytest.raises(Retry, match="longer than 0.5 s"):
        perform(context)


def test_stop_does_not_break_off_the_handing_over(mailbox):
    context = a_context("send_email", HELLO, smtp_url=mailbox.url)

    def stop_and_dawdle() -> None:
        context.stop(StopReason.SHUTDOWN)
        a_context().wait(0.4)

    mailbox.before_data = stop_and_dawdle

    assert perform(context)["recipients"] == 1
    assert len(mailbox.mails) == 1
