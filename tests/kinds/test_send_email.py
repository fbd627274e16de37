"""send_email: what is in a mail, to whom it goes, and which addresses are none; against a real SMTP server."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.header import decode_header, make_header
from email.policy import compat32

import pytest

from haulier.kinds import Fail
from tests.kinds.kinds_tools import HELLO, a_context, error_of, parsed, perform, send


def test_mail_arrives_with_the_same_message_id_in_every_attempt(mailbox):
    context = a_context("send_email", HELLO, smtp_url=mailbox.url)

    result = perform(context)
    again = perform(context)

    mail, second = mailbox.mails
    message = parsed(mail.content)
    assert (mail.sender, mail.recipients) == ("jobs@example.com", ["a@b.c"])
    assert (message["From"], message["To"], message["Subject"]) == ("Haulier <jobs@example.com>", "a@b.c", "Hello")
    assert message.get_content().strip() == "How are you?"
    assert message["Message-ID"] == result["message_id"] == f"<{context.job.id}@example.com>"
    assert parsed(second.content)["Message-ID"] == again["message_id"] == result["message_id"]
    assert result["recipients"] == 1


def test_copies_go_to_all_and_bcc_stands_nowhere_in_the_mail(mailbox):
    result = send(mailbox, cc=["c@d.e", "f@g.h"], bcc="secret@i.j", reply_to=["r@k.l"])

    [mail] = mailbox.mails
    message = parsed(mail.content)
    assert mail.recipients == ["a@b.c", "c@d.e", "f@g.h", "secret@i.j"]
    assert (message["Cc"], message["Reply-To"]) == ("c@d.e, f@g.h", "r@k.l")
    assert b"secret@i.j" not in mail.content
    assert "Bcc" not in message
    assert result["recipients"] == 4
    # One copy each, whoever is named twice.
    send(mailbox, cc="a@b.c", bcc=["x@y.z", "x@y.z"])
    assert mailbox.mails[1].recipients == ["a@b.c", "x@y.z"]


def test_html_stands_beside_the_text(mailbox):
    send(mailbox, html="<p>Wie geht’s?</p>")

    message = parsed(mailbox.mails[0].content)
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    body = message.get_body(("html",))
    assert body is not None
    assert body.get_content().strip() == "<p>Wie geht’s?</p>"


def test_text_of_any_kind_arrives(mailbox):
    texts = [
        ".\r\n.\nend",
        "a\rb\nc",
        "line\n.\nMAIL FROM:<x@y.z>\n",
        "x" * 5000,
        "",
        "Grüße aus Köln 😀",
        "日本語" * 400,
    ]
    for text in texts:
        send(mailbox, body=text)

        content = mailbox.mails[-1].content
        message = parsed(content)
        assert message.get_content().splitlines() == text.splitlines() or message.get_content().strip() == ""
        assert max(len(line) for line in content.splitlines()) < 998
        assert content.isascii()

    assert len(mailbox.mails) == len(texts)


def test_any_local_at_domain_is_taken_and_arrives_unchanged(mailbox):
    for address in (
        *("a@b.c", "a@b", "ann+tag@example.com", "o'neil@example.com", "a.b.c@sub.example.co.uk", "a@-x.y", "1@2.3"),
        *("!#$%&'*+/?=^_`{|}~-@x.y", '"ann smith"@example.com', "a..b@example.com", ".a@example.com"),
        *("a@[127.0.0.1]", "a@b_c.d"),
    ):
        send(mailbox, to=address, cc=[address], reply_to=address)

        mail = mailbox.mails[-1]
        unquoted = address.replace('"', "")
        assert [each.replace('"', "") for each in mail.recipients] == [unquoted]
        for header in (b"To", b"Cc", b"Reply-To"):
            assert re.search(rb"(?m)^%s: (.*)\r$" % header, mail.content)[1].decode().replace('"', "") == unquoted
    send(mailbox, to="ann@bücher.example")
    assert mailbox.mails[-1].recipients == ["ann@xn--bcher-kva.example"]


def test_local_part_beyond_ascii_needs_a_server_that_takes_it(mailbox, start_mailbox):
    able = start_mailbox(utf8=True)

    send(able, to="zoë@example.com")
    with pytest.raises(Fail, match="SMTPUTF8"):
        send(mailbox, to="zoë@example.com")

    assert able.mails[0].recipients == ["zoë@example.com"]
    assert "zoë@example.com" in parsed(able.mails[0].content)["To"]
    assert not mailbox.mails


def test_header_cannot_be_injected(mailbox):
    offenders = []
    for line_break in ("\r\n", *"\n\r\x00\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"):
        for field in ("to", "subject", "cc", "bcc", "reply_to"):
            for value in (f"a@b.c{line_break}Bcc: x@y.z", f"{line_break}a@b.c", f"a@b.c{line_break}"):
                error = error_of(send, mailbox, **{field: value})
                if not error.startswith(f"Fail: the payload is invalid for send_email: {field}: Must"):
                    offenders.append((field, value, error))

    assert offenders == []
    assert not mailbox.steps


def test_a_domain_with_an_empty_part_once_it_is_in_ascii_is_refused_for_good(mailbox):
    # U+2488 is a digit and a dot.
    with pytest.raises(Fail, match="a part of its domain is empty|cannot be written in ASCII"):
        send(mailbox, to="a@b.\u2488")

    assert not mailbox.steps


def test_a_subject_arrives_as_it_was_written_spaces_and_all(mailbox):
    for subject in (
        "%00  \u00a0=00..",
        "a \u00e4 b  \u00e4\u00e4 c",
        "\u65e5 =?x?= \u672c",
        "x " * 200 + "\u00e4",
        "\u00e4" * 300,
    ):
        send(mailbox, subject=subject)

        content = mailbox.mails[-1].content
        assert parsed(content)["Subject"] == subject
        # As programs read it that take each encoded word by itself.
        simply = message_from_bytes(content, policy=compat32)["Subject"]
        assert str(make_header(decode_header(re.sub(r"\r?\n(?=[ \t])", "", simply)))) == subject
