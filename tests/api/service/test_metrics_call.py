"""GET /metrics: right under several processes, and what it says of the queues."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from psycopg2.extensions import connection as Connection

from app.api import metrics
from app.api.metrics import Queues
from haulier.queue import claims
from tests import queueing
from tests.conftest import Sql, eventually
from tests.queue.schedules.schedules import plant
from tests.web import Server


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labelled(text: str, name: str, label: str) -> dict[str, float]:
    """Return the values of a metric by one of its labels."""
    return {dict(labels)[label]: value for (found, labels), value in samples(text).items() if found == name}


def value(text: str, name: str, **labels: str) -> float:
    return samples(text)[(name, tuple(sorted(labels.items())))]


def test_it_reports_the_queues_and_the_workers(client: FlaskClient, conn: Connection, sql: Sql) -> None:
    sql(
        "INSERT INTO haulier.job (kind, payload, queue, run_at) VALUES"
        " ('a', '{}', 'slow', now() - interval '90 seconds'), ('a', '{}', 'slow', now() - interval '30 seconds'),"
        " ('a', '{}', 'slow', now() + interval '1 hour'), ('a', '{}', 'later', now() + interval '1 hour'),"
        " ('a', '{}', 'mail', now())"
    )
    claims.register(conn, host="dock", pid=7, threads=1, queues=("mail",), lease_seconds=30.0)

    answer = client.get("/metrics")

    text = answer.text
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert value(text, "haulier_database_up") == 1
    assert value(text, "haulier_jobs", queue="slow", status="queued") == 3
    assert 90 <= value(text, "haulier_oldest_due_job_seconds", queue="slow") < 120
    assert value(text, "haulier_oldest_due_job_seconds", queue="later") == 0
    unserved = [value(text, "haulier_due_jobs_unserved", queue=queue) for queue in ("slow", "mail", "later")]
    assert unserved == [2, 0, 0]
    assert (value(text, "haulier_workers"), value(text, "haulier_workers_without_scans")) == (1, 0)
    assert 0 <= value(text, "haulier_oldest_beat_seconds") < 30
    # Seven when they were made, which may have been before midnight.
    assert value(text, "haulier_history_days_ahead") > 6


def test_it_counts_overdue_ticks_and_schedules_whose_jobs_fail(client: FlaskClient, sql: Sql) -> None:
    # Schedules, each with the number of its last jobs that have failed.
    failed = {**{f"s{number:02}": 3 for number in range(22)}, "other": 4, "well": 2}
    for name in failed:
        plant(sql, name, every_seconds=3600)
    sql(
        "WITH fired AS ("
        " INSERT INTO haulier.tick (schedule, schedule_id, scheduled_at, outcome, fired_at, job_id)"
        " SELECT name, id, now() - make_interval(secs => n), 'fired', now(), haulier.uuidv7()"
        " FROM unnest(%s, %s) AS asked (name, failed) JOIN haulier.schedule USING (name)"
        " CROSS JOIN generate_series(1, failed) AS n RETURNING job_id)"
        " INSERT INTO haulier.finished_job (id, status, kind, queue, priority, run_at, attempt, attempts, max_attempts,"
        " crashes, snoozes, cancel_requested, payload, errors, created_at, updated_at, finished_at)"
        " SELECT job_id, 'failed_permanent', 'mail', 'default', 0, now(), 1, 1, 3, 0, 0, false, '{}', '[]', now(),"
        " now(), now() FROM fired",
        list(failed),
        list(failed.values()),
    )
    sql(
        "UPDATE haulier.schedule SET look_at = now() - interval '90 s', next_at = now() - interval '95 s'"
        " WHERE name = 'well'"
    )

    text = client.get("/metrics").text

    assert value(text, "haulier_overdue_schedules") == 1
    assert 90 <= value(text, "haulier_oldest_due_tick_seconds") < 120
    # Of the 23 the worst twenty, of which one has the name of all others.
    assert labelled(text, "haulier_schedule_failures", "schedule") == {
        **{f"s{number:02}": 3 for number in range(19)},
        "other": 4,
    }


def test_it_names_the_largest_queues_and_sums_up_the_others(client: FlaskClient, sql: Sql) -> None:
    # q1 has 1 job, and so on; all of the few that there are of `other` belong to the others.
    sql(
        "INSERT INTO haulier.job (kind, payload, queue, run_at)"
        " SELECT 'a', '{}'::jsonb, 'q' || n, now() - make_interval(secs => 100 * n)"
        " FROM generate_series(1, 110) AS n, generate_series(1, n)"
        " UNION ALL SELECT 'a', '{}', 'other', now() - interval '1 day' FROM generate_series(1, 500)"
    )

    text = client.get("/metrics").text

    largest = {f"q{n}" for n in range(11, 111)}
    assert labelled(text, "haulier_jobs", "queue").keys() == {*largest, "other"}
    assert labelled(text, "haulier_oldest_due_job_seconds", "queue").keys() == {*largest, "other"}
    assert value(text, "haulier_jobs", queue="q110", status="queued") == 110
    assert value(text, "haulier_jobs", queue="other", status="queued") == 55 + 500
    assert value(text, "haulier_oldest_due_job_seconds", queue="other") >= 86400
    assert 1100 <= value(text, "haulier_oldest_due_job_seconds", queue="q11") < 1200


def test_of_a_large_table_it_reads_a_sample_and_counts_what_runs(
    client: FlaskClient, conn: Connection, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("haulier.queue.health.overview"), "MOST_PAGES", 100)
    sql("INSERT INTO haulier.job (kind, payload, queue) SELECT 'a', '{}', 'mail' FROM generate_series(1, 20000)")
    assert sql("SELECT pg_relation_size('haulier.job') / 8192 > 400") == [(True,)]
    worker = claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30.0)
    queueing.claim(conn, worker_id=worker, claim_id=worker, queues=(), limit=7)

    text = client.get("/metrics").text

    assert value(text, "haulier_jobs", queue="mail", status="running") == 7
    assert 10_000 < value(text, "haulier_jobs", queue="mail", status="queued") < 40_000


def test_one_question_to_the_database_serves_for_five_seconds(client: FlaskClient, sql: Sql) -> None:
    client.get("/metrics")
    sql("INSERT INTO haulier.job (kind, payload) VALUES ('a', '{}')")

    assert "haulier_jobs{" not in client.get("/metrics").text


def test_requests_are_labelled_by_route_and_never_by_what_a_client_invents(client: FlaskClient) -> None:
    client.get("/jobs/0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11")
    client.get("/nowhere/secret")
    client.open("/jobs", method="FROBNICATE")

    text = client.get("/metrics").text

    name = "flask_http_request_duration_seconds_count"
    assert value(text, name, method="GET", status="404", url_rule="/jobs/<uuid:job_id>") == 1
    assert value(text, name, method="GET", status="404", url_rule="none") == 1
    assert not re.search("0193b1a2|secret|FROBNICATE", text)


def test_it_is_collected_once_for_all_who_ask_within_seconds(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected, collect = [], Queues.collect
    monkeypatch.setattr(Queues, "collect", lambda queues: [collected.append(1), *collect(queues)][1:])
    monkeypatch.setattr(metrics, "KEPT_SECONDS", 3600.0)
    app, start = client.application, threading.Barrier(8)
    accepts = ["", "text/plain;version=1.0.0", "application/openmetrics-text;version=1.0.0"]

    def scrape(number: int) -> set[str]:
        start.wait(10)
        own = app.test_client()
        return {own.get("/metrics", headers={"Accept": accepts[number % 3]}).text for _ in range(10)}

    with ThreadPoolExecutor(8) as threads:
        texts = list(threads.map(scrape, range(8)))

    assert [len(each) for each in texts] == [1] * 8
    assert len(set.union(*texts)) <= 3
    assert collected == [1]


def test_answers_from_before_while_another_request_collects(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = client.get("/metrics").text
    exposition, app = client.application.extensions["haulier_metrics"], client.application
    goes_on, has_begun, collect = threading.Event(), threading.Event(), Queues.collect

    def held(queues: Queues) -> list[Any]:
        has_begun.set()
        assert goes_on.wait(30)
        return list(collect(queues))

    monkeypatch.setattr(Queues, "collect", held)
    client.get("/kinds")
    exposition._kept = replace(exposition._kept, until=0.0)

    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(lambda: app.test_client().get("/metrics").text)
        assert has_begun.wait(10)
        meanwhile = client.get("/metrics").text
        goes_on.set()
        after = slow.result(10)

    assert meanwhile == before
    assert ('url_rule="/kinds"' in before, 'url_rule="/kinds"' in after) == (False, True)


def test_it_has_few_lines_for_each_route_and_few_formats(client: FlaskClient) -> None:
    client.get("/kinds")
    kinds = ["text/plain", "application/openmetrics-text"]
    accepts = [
        f"{kind};version={version}" for kind in kinds for version in ("0.0.4", "1", "1.0.0", "1.2.3", "9999.9.9")
    ]

    text = client.get("/metrics").text
    answers = [client.get("/metrics", headers={"Accept": each}) for each in accepts]

    found = [le for line, le in re.findall(r'(_bucket\{.*?le="([^"]*)".*url_rule="/kinds"\})', text)]
    assert found == ["0.01", "0.05", "0.25", "1.0", "5.0", "+Inf"]
    types = {answer.headers["Content-Type"] for answer in answers}
    assert len(types) <= 3
    of_openmetrics = [answer for answer in answers if answer.headers["Content-Type"].startswith(kinds[1])]
    assert {answer.text.endswith("# EOF\n") for answer in of_openmetrics} == {True}


def test_two_processes_give_one_sum_whichever_answers_also_after_they_died(
    run_gunicorn: Callable[..., AbstractContextManager[Server]], database: str
) -> None:
    with run_gunicorn(database) as server:

        def sums(count: int) -> set[float]:
            # A connection each, since a process keeps its own.
            texts = [requests.get(f"{server.url}/metrics").text for _ in range(count)]
            assert all("haulier_database_up 1.0" in text and "pid=" not in text for text in texts)
            return {value(text, "flask_http_request_total", method="POST", status="415") for text in texts}

        gone = server.children()
        assert len(gone) == 2
        for _ in range(60):
            requests.post(f"{server.url}/jobs", data="x")
        before = sums(10)
        for pid in gone:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(server.children()) == 2 and not set(gone) & set(server.children()))

        assert before == eventually(lambda: sums(1)) == {60.0}
