"""`make demo` shows four real jobs, in a database of its own that it drops."""

from __future__ import annotations

import io
import signal
import smtplib
import socket
import sys
import uuid
from contextlib import closing

import psycopg2
import pytest
import requests
from PIL import Image

from haulier.local.demo import Table
from haulier.local.receivers import NotReceived, Receivers, SmtpSink, WebhookReceiver
from haulier.local.run import new_secret
from haulier.postgres.connection import connect
from haulier.postgres.scratch import url_of
from tests.conftest import sql_on
from tests.local.conftest import alive, descendants

KINDS = ("resize_image", "summarize_text", "send_email", "webhook_delivery")


@pytest.fixture
def demo(haulier, free_port):
    """Give a function that starts `make demo` on a free port."""
    return lambda **environ: haulier("demo", **{"PORT": str(free_port), **environ})


def test_once_runs_one_job_of_each_kind_and_leaves_real_results(demo, free_port):
    shown = demo(ONCE="1")

    assert shown.wait(90) == 0, shown.output
    for kind in KINDS:
        assert f"\n{kind}: succeeded\n" in shown.output
    work = shown.output_file.parent / "var/demo"
    with Image.open(next(work.glob("storage/*.webp"))) as image:
        assert image.size == (640, 400)
    assert b"Subject: Your picture is ready" in next(work.glob("mail/*.eml")).read_bytes()
    assert "the receiver has verified the signature of picture.ready" in shown.output
    assert f"http://127.0.0.1:{free_port}/docs" in shown.output
    assert "\x1b" not in shown.output


def test_it_stays_up_with_jobs_to_look_at_until_it_is_stopped(demo, free_port, eventually):
    shown = demo()
    shown.says("Ctrl-C stops everything")
    below = descendants(shown.popen.pid)
    url = f"http://127.0.0.1:{free_port}"

    overview = requests.get(f"{url}/ui", timeout=5)
    queues = {"hooks", "images", "mail"}
    shown_there = eventually(
        lambda: {each for each in queues if requests.get(f"{url}/jobs?queue={each}", timeout=5).json()} == queues
    )
    shown.popen.send_signal(signal.SIGINT)

    assert (overview.status_code, shown_there) == (200, True)
    assert "<h1>Overview</h1>" in overview.text
    assert f"haulier: dashboard at {url}/ui; " in shown.output.splitlines()[1]

    assert shown.wait() == 0, shown.output
    assert not alive(below)


@pytest.mark.slow
def test_an_occupied_port_is_passed_over_and_said(demo):
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]

        shown = demo(PORT=str(port), ONCE="1")

        assert shown.wait(90) == 0, shown.output
    assert f"port {port} is in use: using " in shown.output


@pytest.mark.slow
def test_with_a_database_url_it_makes_and_drops_a_database_on_that_server(demo, postgres):
    shown = demo(ONCE="1", DATABASE_URL=url_of(postgres, "there_is_no_such_database"))

    assert shown.wait(90) == 0, shown.output
    with closing(connect(url_of(postgres, "template1"))) as conn:
        assert sql_on(conn)("SELECT 1 FROM pg_database WHERE datname = 'haulier_demo'") == []


def test_a_role_without_createdb_gets_one_line(demo, postgres):
    name = f"haulier_test_{uuid.uuid4().hex[:12]}"
    with closing(connect(url_of(postgres, "template1"))) as conn, conn.cursor() as cursor:
        try:
            cursor.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
        except psycopg2.errors.InsufficientPrivilege:
            pytest.skip("needs a role that may create roles")
        try:
            refused = demo(ONCE="1", DATABASE_URL=as_role(postgres, name))

            assert refused.wait(30) == 1
        finally:
            cursor.execute(f"DROP ROLE {name}")
    assert "CREATEDB" in refused.output
    assert refused.output.count("\n") == 1


def as_role(server_url: str, name: str) -> str:
    scheme, _, rest = server_url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{name}:secret@{authority.rpartition('@')[2]}{slash}{path}"


def test_the_table_is_rewritten_in_place_only_on_a_terminal_with_colours(monkeypatch):
    job = {"kind": "send_email", "status": "queued", "attempts": 0, "max_attempts": 3}
    plain, terminal, without_colour = io.StringIO(), io.StringIO(), io.StringIO()
    terminal.isatty = without_colour.isatty = lambda: True
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")

    for output in (plain, terminal, without_colour):
        monkeypatch.setattr(sys, "stdout", output)
        if output is without_colour:
            monkeypatch.setenv("NO_COLOR", "1")
        table = Table()
        for status in ("queued", "queued", "succeeded"):
            table.show([job | {"status": status}])
    monkeypatch.undo()

    assert [line.split()[1] for line in plain.getvalue().splitlines()] == ["queued", "succeeded"]
    assert terminal.getvalue().count("\x1b[1F") == 2
    assert "\x1b" not in without_colour.getvalue()


@pytest.fixture
def receivers(tmp_path):
    """Give both, serving."""
    with Receivers(SmtpSink(tmp_path), WebhookReceiver(new_secret())) as receivers:
        yield receivers


def test_the_smtp_server_keeps_a_mail_as_it_was_sent(receivers, tmp_path):
    with smtplib.SMTP("127.0.0.1", receivers.smtp.port) as client:
        client.sendmail("a@example.com", ["b@example.com"], "Message-ID: <1@x>\r\n\r\n.dot\r\n..\r\nend\r\n")

    path, mail = receivers.smtp.find("<1@x>")

    assert path.parent == tmp_path
    assert path.stat().st_mode & 0o777 == 0o600
    assert mail.get_payload() == ".dot\r\n..\r\nend\r\n"


def test_the_receiver_refuses_a_webhook_without_a_signature_that_holds(receivers):
    headers = {"webhook-id": "1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}

    answer = requests.post(f"http://127.0.0.1:{receivers.webhooks.port}", data=b"{}", headers=headers, timeout=5)

    assert answer.status_code == 401
    with pytest.raises(NotReceived):
        receivers.webhooks.find("1")
