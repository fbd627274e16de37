"""Haulier mounted in another application: it ..."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
from werkzeug.test import Client, create_environ, run_wsgi_app

from haulier.domain.api_key import Scope
from lab.dashboard import sign_in
from tests.docs import shell
from tests.docs.reading import blocks_of
from tests.http.callers import MakeKey, bearer
from tests.installed.environments import running, web_environ
from tests.mounted import MOUNT, PAGE, shop
from tests.web import ROOT, Server, answers
from tests.web.browsing import SAME, Browser, MakeSite, form, new_key

HERE = {"base_url": f"http://localhost{MOUNT}"}
KEY = "0123456789abcdef" * 2


@pytest.fixture
def client(make_site: MakeSite) -> Client:
    """Give the client of an application that is mounted, with settings as on loopback."""
    return make_site(host="127.0.0.1", is_mounted=True).test_client()


def test_needs_a_key_from_callers_of_its_machine_too(client: Client, make_key: MakeKey) -> None:
    before = client.get("/jobs", **HERE).status_code
    _, shown = make_key(Scope.READ)

    assert before == client.get("/jobs", **HERE).status_code == 401
    assert client.get("/jobs", headers=shown, **HERE).status_code == 200


def test_opens_to_programs_and_not_to_strangers_pages_if_auth_is_off(make_site: MakeSite) -> None:
    client = make_site(host="127.0.0.1", is_mounted=True, auth="off").test_client()
    pages = ({"Host": "evil.example"}, {"Origin": "http://evil.example"})

    assert client.get("/jobs", **HERE).status_code == 200
    refused = [client.get("/jobs", headers=headers) for headers in pages]
    assert [answer.status_code for answer in refused] == [403, 403]
    assert "HAULIER_HOSTS" in refused[0].json["message"]


def test_opens_under_the_names_of_haulier_hosts_if_auth_is_off(make_site: MakeSite) -> None:
    # A proxy of this machine in front, whose own access control the team trusts.
    site = make_site(is_mounted=True, auth="off", haulier_hosts=("shop.example", "SHOP.test"))
    named = ["shop.example", "Shop.Example:8443", "shop.test"]
    others = ["evil.example", "shop.example.evil.example", "evil.shop.example", "shop.example:80@evil.example", ""]

    def status(host: str) -> str:
        environ = create_environ("/jobs", headers={"Host": host}, environ_base={"REMOTE_ADDR": "127.0.0.1"})
        return run_wsgi_app(site, environ, buffered=True)[1][:3]

    found = {host: status(host) for host in (*named, *others)}
    act = {"Host": "shop.example", "Origin": "https://shop.example"}

    assert found == {**dict.fromkeys(named, "200"), **dict.fromkeys(others, "403")}
    assert site.test_client().post("/queues/mail/pause", headers=act).status_code == 200


def test_takes_at_most_web_threads_connections_whatever_runs_it(make_site: MakeSite, make_key: MakeKey) -> None:
    site, (_, shown) = make_site(is_mounted=True, web_threads=1), make_key(Scope.READ)

    with site.extensions["haulier"].database.connection():
        waited_in_vain = site.test_client().get("/jobs", headers=shown, **HERE)
    after = site.test_client().get("/jobs", headers=shown, **HERE)

    assert (waited_in_vain.status_code, waited_in_vain.headers["Retry-After"]) == (503, "1")
    assert after.status_code == 200


def test_keeps_its_cookies_to_its_own_path(make_site: MakeSite, make_key: MakeKey) -> None:
    site = make_site(is_mounted=True)
    for scheme, name in (("http", "haulier"), ("https", "__Secure-haulier")):
        browser = Browser(site, base_url=f"{scheme}://localhost{MOUNT}")
        fields = form(browser.page("/ui/sign-in"), f"{MOUNT}/ui/sign-in")
        token = new_key(make_key, Scope.ADMIN)[1]

        entered = browser.post("/ui/sign-in", **{**fields, "key": token, "next": "/ui/jobs"})
        [cookie] = [each for each in entered.headers.getlist("Set-Cookie") if each.startswith(f"{name}=")]

        assert f"; Path={MOUNT};" in cookie
        # Outside of the mount, so not followed.
        assert entered.headers["Location"] == f"{MOUNT}/ui"
        assert browser.get("/ui").status_code == 200


def test_refuses_chunks_that_its_server_does_not_read(client: Client, make_key: MakeKey) -> None:
    _, operator = make_key(Scope.READ, Scope.OPERATE)

    def pause(**environ: Any) -> int:
        body = BufferedReader(BytesIO(b'{"until": "2099-01-01T00:00:00Z"}'))
        given = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": body, **environ}
        headers = {**operator, "Content-Type": "application/json"}
        return client.post("/queues/mail/pause", headers=headers, environ_overrides=given, **HERE).status_code

    assert pause() == 400
    # Without an end: it would have been paused as if the body were empty.
    assert client.get("/queues/mail", headers=operator, **HERE).status_code == 404
    assert pause(**{"wsgi.input_terminated": True}) == 200


def test_takes_its_root_from_the_server_and_from_no_header(client: Client) -> None:
    headers = {"X-Forwarded-Prefix": "/evil", "X-Script-Name": "/evil"}

    assert client.get("/", headers=headers, **HERE).headers["Location"] == f"{MOUNT}/ui"


def run(program: str, **environ: str) -> list[str]:
    """Return the lines that a program prints, in which no setting is set."""
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}
    done = subprocess.run([sys.executable, "-u", "-c", program], env=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.direct("counts connections to the server")
def test_is_imported_before_the_settings_are_there_and_shares_nothing_over_a_fork(database: str) -> None:
    lines = run(
        f"""
import os
from contextlib import closing
from haulier.postgres.connection import connect
from haulier.wsgi import application
from werkzeug.test import Client

client = Client(application)

def get(path, root="/haulier"):
    answer = client.get(path, headers={{"Authorization": "Bearer {KEY}"}}, base_url=f"http://localhost{{root}}")
    return answer.status_code

def connections():
    with closing(connect({database!r})) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'haulier web' "
            " AND datname = current_database()"
        )
        return cursor.fetchone()[0]

print(get("/stats"))
os.environ["DATABASE_URL"] = {database!r}
print(get("/stats"), get("/stats", "//evil.example"))
before = connections()
if child := os.fork():
    os.waitpid(child, 0)
    print(get("/stats"))
else:
    print(get("/stats"), connections() - before)
""",
        HAULIER_API_KEY=KEY,
    )

    # The child has a connection of its own.
    assert lines == ["503", "200 404", "200 1", "200"]


@pytest.fixture(scope="module", params=["flask", "django"])
def shared_shop(
    request: pytest.FixtureRequest,
    _migrated_database: str,
    tmp_path_factory: pytest.TempPathFactory,
    eventually: Callable[..., Any],
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp(request.param)
    with shop(request.param, folder, _migrated_database, eventually, HAULIER_API_KEY=KEY) as server:
        yield server


@pytest.fixture
def server(shared_shop: Server, database: str) -> Server:
    return shared_shop


def post(server: Server, path: str, data: Any, content_type: str = "application/json") -> int:
    headers = {**bearer(KEY), "Content-Type": content_type}
    return requests.post(f"{server.url}{path}", data, headers=headers, timeout=30).status_code


def test_leaves_the_rest_of_the_site_and_its_session_alone(server: Server) -> None:
    with sign_in(server.url, KEY) as session:
        home = session.get(server.url.removesuffix(MOUNT))
        again = session.get(f"{server.url}/ui")

    assert (home.status_code, home.text) == (200, "<h1>The shop</h1>")
    assert {each.path for each in session.cookies} == {"/", MOUNT}
    assert again.status_code == 200
    assert "haulier" not in str(home.request.headers)
    assert requests.get(f"{server.url}/jobs", timeout=30).status_code == 401


def test_keeps_its_limits_under_a_server_that_is_not_its_own(server: Server, count_jobs: Callable[[], int]) -> None:
    job = b'{"kind": "summarize_text", "payload": {"text": "%s"}}'
    long, deep = job % (b"x" * 1_100_000), b"[" * 100_000
    batch = b"[" + b",".join([job % (b"x" * 50_000)] * 40) + b"]"
    form_fields = {"csrf": "x", "key": "x" * 1_100_000}

    found = {
        "a job": post(server, "/jobs", job % b"A text."),
        "a job in chunks": post(server, "/jobs", iter([job % b"A text."])),
        "too long": post(server, "/jobs", long),
        "too long in chunks": post(server, "/jobs", iter([long[:600_000], long[600_000:]])),
        "too deep": post(server, "/jobs", deep),
        "a batch of 2 MB": post(server, "/jobs/batch", batch),
        "a form that is too long": requests.post(
            f"{server.url}/ui/sign-in", form_fields, headers=SAME, timeout=30
        ).status_code,
    }

    assert found == {
        "a job": 201,
        "a job in chunks": 201,
        "too long": 413,
        "too long in chunks": 413,
        "too deep": 400,
        "a batch of 2 MB": 201,
        "a form that is too long": 413,
    }
    assert count_jobs() == 42


@pytest.mark.parametrize("shared_shop", ["flask"], indirect=True)
def test_the_commands_of_the_page_run(
    server: Server, database: str, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    in_shop, web, beside = (block.text for block in blocks_of(PAGE) if block.language == "sh" and not block.not_run)
    url, environ = web_environ(database, tmp_path)
    (tmp_path / "haulier").write_text(f'#!/bin/sh\nexec {sys.executable} -m haulier "$@"\n')
    (tmp_path / "haulier").chmod(0o755)
    environ |= {"HAULIER_API_KEY": KEY, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    shell.run(in_shop.replace(":8000", ":8080"), server.url.removesuffix(MOUNT), tmp_path, **environ)
    started = f"exec env {web.replace('127.0.0.1:8080', url.removeprefix('http://'))}"
    with running(["sh", "-c", started], tmp_path, environ, tmp_path / "web.log"):
        eventually(lambda: answers(url))
        shell.run(beside, url, tmp_path, **environ)
