"""The record of what operators did: it ..."""

from __future__ import annotations

import re
from uuid import UUID

import pytest

from haulier.domain.act import Act
from haulier.postgres.values import array
from haulier.queue.access import audit_log
from haulier.queue.access.audit_log import LOOK_ROWS, ActionFilter, find_actions
from tests.queue.plans import buffers, explain

ENTRIES = 50_000
JOB = UUID("0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11")
# One of each ten entries of a second is that of another job; the rare actor has the oldest of all.
MAKE = """
    INSERT INTO haulier.audit (at, actor, action, job_id)
    SELECT now() - make_interval(secs => %s - n), CASE n WHEN 1 THEN 'rare' ELSE 'common' END, 'cancel',
        CASE n WHEN 7 THEN %s::uuid ELSE haulier.uuidv7() END
    FROM generate_series(1, %s) AS n
    RETURNING 1
"""
NO_FILTER = {
    "job": None, "target": None, "actor": None, "acts": None, "at_after": None, "at_before": None,
    "after_at": None, "after_entry": None, "most_rows": LOOK_ROWS, "limit": 51,
}  # fmt: skip


@pytest.fixture
def crowd(sql):
    """Give a database with that many entries."""
    sql(MAKE, ENTRIES, str(JOB), ENTRIES)
    sql("VACUUM ANALYZE haulier.audit")


def scans(nodes):
    return [node for node in nodes if "Scan" in node["Node Type"] and node["Node Type"] != "Subquery Scan"]


def test_knows_the_acts_that_the_table_takes(sql):
    [[check]] = sql("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'action_is_known'")

    assert set(re.findall(r"'(\w+)'", check)) == set(Act)


def test_finds_what_was_done_to_a_job_by_its_index(conn, crowd):
    _, nodes = explain(conn, "list_audit", {**NO_FILTER, "job": JOB})

    assert [node.get("Index Name") for node in scans(nodes)] == ["audit_by_job"]
    assert buffers(nodes) < 20
    assert [action.job_id for action in find_actions(conn, ActionFilter(job_id=JOB)).actions] == [JOB]


def test_reads_of_many_entries_no_more_than_a_page_takes(conn, crowd):
    _, nodes = explain(conn, "list_audit", NO_FILTER)

    [scan] = scans(nodes)
    assert (scan["Index Name"], scan["Scan Direction"]) == ("audit_oldest", "Backward")
    assert scan["Actual Rows"] <= 60


def test_looks_for_what_is_rare_among_a_bounded_number_of_entries(conn, crowd):
    for rare in ({"actor": "rare"}, {"acts": array(["retry"])}):
        _, nodes = explain(conn, "list_audit", {**NO_FILTER, **rare})
        [scan] = scans(nodes)
        assert (scan["Index Name"], scan["Actual Rows"]) == ("audit_oldest", LOOK_ROWS)


def test_the_time_is_found_by_an_index(conn, crowd, sql):
    [[long_ago]] = sql("SELECT min(at) + interval '5 s' FROM haulier.audit")

    _, nodes = explain(conn, "list_audit", {**NO_FILTER, "at_before": long_ago})

    [scan] = scans(nodes)
    assert (scan["Index Name"], scan["Actual Rows"]) == ("audit_oldest", 5)
    assert buffers(nodes) < 20


def test_the_last_entry_of_a_look_is_on_its_page_if_it_matches(conn, sql, monkeypatch):
    monkeypatch.setattr(audit_log, "LOOK_ROWS", 3)
    for actor in ("a", "a", "b", "a", "b"):
        sql("INSERT INTO haulier.audit (actor, action, target) VALUES (%s, 'mute', 't') RETURNING 1", actor)

    first = find_actions(conn, ActionFilter(actor="b", limit=2))
    second = find_actions(conn, ActionFilter(actor="b", limit=2, after=first.after))
    full = find_actions(conn, ActionFilter(actor="a", limit=1))

    assert [len(page.actions) for page in (first, second, full)] == [2, 0, 1]
    assert first.after == (first.actions[-1].at, first.actions[-1].id)
    assert second.after is None
