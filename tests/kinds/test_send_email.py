"""send_email, against real SMTP servers on this machine."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import compat32, default
from pathlib import Path
from typing import Any

import pytest

from haulier.domain.errors import ConfigError
from haulier.kinds import Fail, JobCancelled, Retry, StopReason, load_kinds
from haulier.kinds.outbound.smtp import SmtpServer
from tests.kinds.kinds_tools import Mailbox, a_context, a_free_port, perform, run, settings, stopped_soon

HELLO = {"to": "a@b.c", "subject": "Hello", "body": "How are you?"}


def send(mailbox: Mailbox, **payload: Any) -> Any:
    return run("send_email", {**HELLO, **payload}, smtp_url=mailbox.url)


def parsed(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def test_mail_arrives(mailbox: Mailbox) -> None:
    context = a_context("send_email", HELLO, smtp_url=mailbox.url)

    result = perform(context)

    [mail] = mailbox.mails
    message = parsed(mail.content)
    assert (mail.sender, mail.recipients) == ("jobs@example.com", ["a@b.c"])
    assert (message["From"], message["To"], message["Subject"]) == ("Haulier <jobs@example.com>", "a@b.c", "Hello")
    assert message.get_content().strip() == "How are you?"
    assert message["Message-ID"] == result["message_id"] == f"<{context.job.id}@example.com>"
    assert result["recipients"] == 1


def test_message_id_is_the_same_in_every_attempt(mailbox: Mailbox) -> None:
    context = a_context("send_email", HELLO, smtp_url=mailbox.url)

    perform(context)
    perform(context)

    assert len({str(parsed(mail.content)["Message-ID"]) for mail in mailbox.mails}) == 1


def test_copies_go_to_all_and_bcc_stands_nowhere_in_the_mail(mailbox: Mailbox) -> None:
    result = send(mailbox, cc=["c@d.e", "f@g.h"], bcc="secret@i.j", reply_to=["r@k.l"])

    [mail] = mailbox.mails
    message = parsed(mail.content)
    assert mail.recipients == ["a@b.c", "c@d.e", "f@g.h", "secret@i.j"]
    assert (message["Cc"], message["Reply-To"]) == ("c@d.e, f@g.h", "r@k.l")
    assert b"secret@i.j" not in mail.content
    assert "Bcc" not in message
    assert result["recipients"] == 4


def test_recipient_named_twice_gets_one_copy(mailbox: Mailbox) -> None:
    send(mailbox, cc="a@b.c", bcc=["x@y.z", "x@y.z"])

    assert mailbox.mails[0].recipients == ["a@b.c", "x@y.z"]


def test_html_stands_beside_the_text(mailbox: Mailbox) -> None:
    send(mailbox, html="<p>Wie geht’s?</p>")

    message = parsed(mailbox.mails[0].content)
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    body = message.get_body(("html",))
    assert body is not None
    assert body.get_content().strip() == "<p>Wie geht’s?</p>"


@pytest.mark.parametrize(
    "text",
    ["Grüße aus Köln 😀", "", "x" * 5000, ".\r\n.\nend", "a\rb\nc", "line\n.\nMAIL FROM:<x@y.z>\n", "日本語" * 400],
)
def test_text_of_any_kind_arrives(mailbox: Mailbox, text: str) -> None:
    send(mailbox, body=text, subject="Grüße: " + "ä" * 300)

    [mail] = mailbox.mails
    message = parsed(mail.content)
    assert message["Subject"] == "Grüße: " + "ä" * 300
    assert message.get_content().splitlines() == text.splitlines() or message.get_content().strip() == ""
    assert max(len(line) for line in mail.content.splitlines()) < 998
    assert mail.content.isascii()


@pytest.mark.parametrize(
    "address",
    [
        "a@b.c",
        "a@b",
        "ann+tag@example.com",
        "o'neil@example.com",
        "a.b.c@sub.example.co.uk",
        "!#$%&'*+/?=^_`{|}~-@x.y",
        '"ann smith"@example.com',
        "a..b@example.com",
        ".a@example.com",
        "a@[127.0.0.1]",
        "a@b_c.d",
        "a@-x.y",
        "1@2.3",
    ],
)
def test_any_local_at_domain_is_taken_and_arrives_unchanged(mailbox: Mailbox, address: str) -> None:
    send(mailbox, to=address, cc=[address], reply_to=address)

    [mail] = mailbox.mails
    unquoted = address.replace('"', "")
    assert [each.replace('"', "") for each in mail.recipients] == [unquoted]
    for header in ("To", "Cc", "Reply-To"):
        assert re.search(rb"(?m)^%s: (.*)\r$" % header.encode(), mail.content)[1].decode().replace('"', "") == unquoted


def test_domain_beyond_ascii_is_written_in_ascii(mailbox: Mailbox) -> None:
    send(mailbox, to="ann@bücher.example")

    assert mailbox.mails[0].recipients == ["ann@xn--bcher-kva.example"]


def test_local_part_beyond_ascii_needs_a_server_that_takes_it(
    mailbox: Mailbox, start_mailbox: Callable[..., Mailbox]
) -> None:
    able = start_mailbox(utf8=True)

    send(able, to="zoë@example.com")
    with pytest.raises(Fail, match="SMTPUTF8"):
        send(mailbox, to="zoë@example.com")

    assert able.mails[0].recipients == ["zoë@example.com"]
    assert "zoë@example.com" in parsed(able.mails[0].content)["To"]
    assert not mailbox.mails


BREAKS = ["\r\n", "\n", "\r", "\x00", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("field", ["to", "subject", "cc", "bcc", "reply_to"])
@pytest.mark.parametrize("line_break", BREAKS)
def test_header_cannot_be_injected(mailbox: Mailbox, field: str, line_break: str) -> None:
    for value in (f"a@b.c{line_break}Bcc: x@y.z", f"{line_break}a@b.c", f"a@b.c{line_break}"):
        with pytest.raises(Fail, match=f"the payload does not fit send_email: {field}: Must"):
            send(mailbox, **{field: value})

    assert not mailbox.steps


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a",
        "@",
        "a@",
        "@b",
        "a b@c",
        "a@b c",
        "a@b@c",
        "a@b,c@d",
        "a@b;c@d",
        "<a@b>",
        "Ann <a@b.c>",
        "a@b>",
        "a@b> SIZE=1",
    ]
    + [
        "a@b (x)",
        "a\u00a0@b",
        "a@\u2003b",
        "(x)a@b",
        "a:b@c",
        '"@b',
        '"a"b"@c',
        "a@[b",
        "a@b..c",
        "a@b.c.",
        "a@.b.c",
        "a@b.c\u3002",
        "a@b\uff0e\uff61c",
        "x" * 320 + "@b",
        None,
        5,
        True,
        ["a@b.c"],
    ],
)
def test_address_that_is_none_is_refused(mailbox: Mailbox, address: Any) -> None:
    with pytest.raises(Fail, match="send_email: to: "):
        send(mailbox, to=address)

    assert not mailbox.steps


@pytest.mark.parametrize("value", [5, True, {"a": 1}, [5], [None], ["a@b.c", "x"], [["a@b.c"]], "x", ["a@b.c"] * 101])
def test_copies_that_are_no_addresses_are_refused(mailbox: Mailbox, value: Any) -> None:
    with pytest.raises(Fail, match="send_email: cc: "):
        send(mailbox, cc=value)


def test_a_domain_with_an_empty_part_once_it_is_in_ascii_is_refused_for_good(mailbox: Mailbox) -> None:
    # U+2488 is a digit and a dot.
    with pytest.raises(Fail, match="a part of its domain is empty|cannot be written in ASCII"):
        send(mailbox, to="a@b.\u2488")

    assert not mailbox.steps


@pytest.mark.parametrize(
    "subject", ["%00  \u00a0=00..", "a \u00e4 b  \u00e4\u00e4 c", "\u65e5 =?x?= \u672c", "x " * 200 + "\u00e4"]
)
def test_a_subject_arrives_as_it_was_written_spaces_and_all(mailbox: Mailbox, subject: str) -> None:
    send(mailbox, subject=subject)

    content = mailbox.mails[0].content
    assert parsed(content)["Subject"] == subject
    # As programs read it that take each encoded word by itself.
    simply = message_from_bytes(content, policy=compat32)["Subject"]
    assert str(make_header(decode_header(re.sub(r"\r?\n(?=[ \t])", "", simply)))) == subject


def test_null_in_an_optional_field_counts_as_absent(mailbox: Mailbox) -> None:
    send(mailbox, html=None, cc=None, bcc=None, reply_to=None)

    message = parsed(mailbox.mails[0].content)
    assert message.get_content_type() == "text/plain"
    assert message["Cc"] is None


@pytest.mark.parametrize("step", ["MAIL jobs@example.com", "RCPT a@b.c", "DATA"])
def test_5xx_is_final_and_4xx_is_tried_again(mailbox: Mailbox, step: str) -> None:
    mailbox.refuse[step] = "550 5.7.1 not here"
    with pytest.raises(Fail, match="550 5.7.1 not here"):
        send(mailbox)

    mailbox.refuse[step] = "451 4.3.0 later please"
    with pytest.raises(Retry, match="451 4.3.0 later please"):
        send(mailbox)

    assert not mailbox.mails


def test_one_recipient_refused_means_that_nobody_gets_the_mail(mailbox: Mailbox) -> None:
    mailbox.refuse["RCPT c@d.e"] = "450 greylisted"

    with pytest.raises(Retry, match=r"refused c@d.e \(1 of 3 recipients; sent to none\): 450 greylisted"):
        send(mailbox, cc=["c@d.e", "f@g.h"])
    mailbox.refuse.clear()
    send(mailbox, cc=["c@d.e", "f@g.h"])

    assert [mail.recipients for mail in mailbox.mails] == [["a@b.c", "c@d.e", "f@g.h"]]


def test_final_refusal_of_one_outweighs_a_passing_one_of_another(mailbox: Mailbox) -> None:
    mailbox.refuse |= {"RCPT a@b.c": "450 greylisted", "RCPT c@d.e": "550 no such user"}

    with pytest.raises(Fail, match="550 no such user"):
        send(mailbox, cc="c@d.e")


def test_nobody_listening_is_tried_again() -> None:
    with pytest.raises(Retry, match="cannot be reached"):
        run("send_email", HELLO, smtp_url=f"smtp://127.0.0.1:{a_free_port()}")


@pytest.mark.parametrize(("greeting", "outcome"), [(b"554 no\r\n", Fail), (b"421 busy\r\n", Retry), (b"", Retry)])
def test_greeting_decides_like_any_answer(
    listen: Callable[..., int], greeting: bytes, outcome: type[Exception]
) -> None:
    port = listen(lambda sock: sock.sendall(greeting))

    with pytest.raises(outcome):
        run("send_email", HELLO, smtp_url=f"smtp://127.0.0.1:{port}")


def test_login_and_starttls(start_mailbox: Callable[..., Mailbox], trusted: None) -> None:
    mailbox = start_mailbox(tls="starttls")

    for url in (
        "smtp+starttls://ann:{}@localhost:{}",
        "smtp://ann:{}@localhost:{}?starttls",
        "smtp://ann:{}@localhost:{}?starttls=1",
    ):
        run("send_email", HELLO, smtp_url=url.format("opensesame", mailbox.port))

    assert mailbox.logins == [("ann", "opensesame")] * 3
    assert len(mailbox.mails) == 3
    assert all(mailbox.encrypted)


def test_login_over_smtps(start_mailbox: Callable[..., Mailbox], trusted: None) -> None:
    mailbox = start_mailbox(tls="tls")

    run("send_email", HELLO, smtp_url=f"smtps://ann:opensesame@localhost:{mailbox.port}")

    assert mailbox.logins == [("ann", "opensesame")]
    assert len(mailbox.mails) == 1


@pytest.mark.parametrize("tls", ["starttls", "tls"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_certificate_that_does_not_fit_stops_the_login(
    start_mailbox: Callable[..., Mailbox], request: pytest.FixtureRequest, tls: str, host: str
) -> None:
    if host == "127.0.0.1":  # the authority is known, but the name is not in the certificate
        request.getfixturevalue("trusted")
    mailbox = start_mailbox(tls=tls)
    scheme = "smtps" if tls == "tls" else "smtp+starttls"

    with pytest.raises(Retry, match="CERTIFICATE_VERIFY_FAILED"):
        run("send_email", HELLO, smtp_url=f"{scheme}://ann:opensesame@{host}:{mailbox.port}")

    assert not mailbox.logins


def test_server_without_starttls_gets_neither_password_nor_mail(mailbox: Mailbox) -> None:
    with pytest.raises(Fail, match="STARTTLS"):
        run("send_email", HELLO, smtp_url=f"smtp+starttls://ann:opensesame@127.0.0.1:{mailbox.port}")

    assert not mailbox.steps


def test_wrong_password_is_final_and_not_shown(mailbox: Mailbox) -> None:
    with pytest.raises(Fail, match="refused the user or password of SMTP_URL: 535") as caught:
        run("send_email", HELLO, smtp_url=f"smtp://ann:hunter2@127.0.0.1:{mailbox.port}")

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "host", "port", "security"),
    [
        ("smtp://mail.example.com", "mail.example.com", 25, "none"),
        ("smtp://mail.example.com:2525/", "mail.example.com", 2525, "none"),
        ("smtp://a:b@mail.example.com", "mail.example.com", 25, "starttls"),
        ("smtp://a:b@mail.example.com?starttls=never", "mail.example.com", 25, "none"),
        ("smtp://a:b@localhost", "localhost", 25, "none"),
        ("smtp://mail.example.com?starttls", "mail.example.com", 587, "starttls"),
        ("smtp+starttls://a:b@mail.example.com", "mail.example.com", 587, "starttls"),
        ("smtps://a:b@mail.example.com", "mail.example.com", 465, "tls"),
        ("smtps://[2001:db8::1]:99", "2001:db8::1", 99, "tls"),
    ],
)
def test_smtp_url_says_host_port_and_protection(url: str, host: str, port: int, security: str) -> None:
    server = SmtpServer.parse(url)

    assert (server.host, server.port, server.security) == (host, port, security)


def test_user_and_password_are_percent_decoded_and_not_in_the_repr() -> None:
    server = SmtpServer.parse("smtps://ann%40example.com:p%2Fss@mail.example.com")

    assert (server.user, server.password) == ("ann@example.com", "p/ss")
    assert "p/ss" not in repr(server)


@pytest.mark.parametrize(
    "given",
    [
        {"smtp_url": "mail.example.com"},
        {"smtp_url": "http://mail.example.com"},
        {"smtp_url": "smtp://"},
        {"smtp_url": "smtp://a:secret@host:99999"},
        {"smtp_url": "smtp://a:secret@host:0"},
        {"smtp_url": "smtp://a:secret@host?tls=1"},
        {"smtp_url": "smtp://a:secret@host/path"},
        {"smtp_url": "file:"},
        {"smtp_url": "file://elsewhere/mail"},
        {"smtp_url": "smtp://host", "mail_from": "nobody"},
        {"smtp_url": "smtp://host", "mail_from": "a@b.c\nBcc: x@y.z"},
    ],
)
def test_setting_that_is_wrong_stops_the_process_without_showing_a_password(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="SMTP_URL|MAIL_FROM") as caught:
        load_kinds(settings(**given))

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "missing"), [({}, "SMTP_URL"), ({"smtp_url": "smtp://x", "mail_from": None}, "MAIL_FROM")]
)
def test_missing_setting_is_final_and_named(given: dict[str, Any], missing: str) -> None:
    with pytest.raises(Fail, match=f"send_email needs {missing}, which is not set"):
        run("send_email", HELLO, **given)


def test_file_url_writes_the_mail_under_the_job_id(tmp_path: Path) -> None:
    context = a_context("send_email", {**HELLO, "bcc": "secret@i.j"}, smtp_url=f"file://{tmp_path}/mails")

    result = perform(context)
    perform(context)

    [file] = (tmp_path / "mails").iterdir()
    assert file.name == f"{context.job.id}.eml"
    assert result["location"] == file.as_uri()
    assert parsed(file.read_bytes())["To"] == "a@b.c"
    assert b"secret@i.j" not in file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_file_url_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    run("send_email", HELLO, smtp_url="file:var/mail")

    assert len(list((tmp_path / "var" / "mail").glob("*.eml"))) == 1


def test_mail_that_cannot_be_written_whole_is_not_there_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(Retry, match="No space left"):
        run("send_email", HELLO, smtp_url=f"file://{tmp_path}")

    assert list(tmp_path.iterdir()) == []


def test_cancel_ends_a_conversation_that_hangs(listen: Callable[..., int]) -> None:
    greeted: list[bool] = []
    port = listen(lambda sock: [sock.sendall(b"220 hello\r\n"), greeted.append(True), sock.recv(99), sock.recv(99)])
    context = a_context("send_email", HELLO, smtp_url=f"smtp://127.0.0.1:{port}")
    started = time.monotonic()

    with stopped_soon(context, lambda: greeted), pytest.raises(JobCancelled):
        perform(context)

    assert time.monotonic() - started < 0.6


def test_server_that_drips_is_cut_off_at_the_time_limit(
    listen: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def drip(sock: Any) -> None:
        while True:
            sock.sendall(b"220-wait\r\n")
            context.wait(0.05)

    monkeypatch.setattr("haulier.kinds.send_email.SECONDS", 0.5)
    context = a_context("send_email", HELLO, smtp_url=f"smtp://127.0.0.1:{listen(drip)}")
    started = time.monotonic()

    with pytest.raises(Retry, match="longer than 0.5 s"):
        perform(context)

    assert time.monotonic() - started < 2


def test_stop_does_not_break_off_the_handing_over(mailbox: Mailbox) -> None:
    context = a_context("send_email", HELLO, smtp_url=mailbox.url)

    def stop_and_dawdle() -> None:
        context.stop(StopReason.SHUTDOWN)
        a_context().wait(0.4)

    mailbox.before_data = stop_and_dawdle

    assert perform(context)["recipients"] == 1
    assert len(mailbox.mails) == 1
