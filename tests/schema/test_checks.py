"""What schema.sql does not let be stored: it ..."""

from __future__ import annotations

import pytest
from psycopg2 import errors

from haulier.domain.job import JobStatus
from haulier.queue import produce

LIVE: dict[str, str] = {"kind": "'mail'", "payload": "'{}'"}
FINISHED: dict[str, str] = {
    "id": "haulier.uuidv7()",
    "status": "'succeeded'",
    "kind": "'mail'",
    "queue": "'default'",
    "priority": "0",
    "run_at": "now()",
    "attempt": "1",
    "attempts": "1",
    "max_attempts": "3",
    "crashes": "0",
    "snoozes": "0",
    "cancel_requested": "false",
    "payload": "'{}'",
    "errors": "'[]'",
    "created_at": "now()",
    "updated_at": "now()",
    "finished_at": "now()",
}
A_WORKER = "'01980000-0000-7000-8000-000000000007'"
RUNNING = {"status": "'running'", "worker_id": A_WORKER, "claim": A_WORKER, "started_at": "now()"}

REFUSED = [
    ("status_is_live", {"status": "'succeeded'"}),
    ("status_is_live", {"status": "'Queued'"}),
    ("worker_iff_running", {**RUNNING, "worker_id": "NULL"}),
    ("worker_iff_running", {**RUNNING, "status": "'queued'"}),
    ("running_has_a_claim", {"worker_id": A_WORKER}),
    ("running_has_a_claim", {**RUNNING, "claim": "NULL"}),
    ("running_has_a_claim", {**RUNNING, "started_at": "NULL"}),
    ("kind_is_a_name", {"kind": "''"}),
    ("kind_is_a_name", {"kind": "'Mail'"}),
    ("kind_is_a_name", {"kind": "E'mail\\n'"}),
    ("kind_is_a_name", {"kind": "E'x\\nmail'"}),
    ("kind_is_a_name", {"kind": "repeat('m', 65)"}),
    ("queue_is_a_name", {"queue": "''"}),
    ("queue_is_a_name", {"queue": "'a b'"}),
    ("queue_is_a_name", {"queue": "repeat('q', 65)"}),
    ("queue_is_a_name", {"queue": "E'mail\\n'"}),
    ("priority_from_minus_100_to_100", {"priority": "101"}),
    ("priority_from_minus_100_to_100", {"priority": "-101"}),
    ("run_at_in_the_calendar", {"run_at": "'infinity'"}),
    ("run_at_in_the_calendar", {"run_at": "'-infinity'"}),
    ("run_at_in_the_calendar", {"run_at": "'10000-01-01'"}),
    ("run_at_in_the_calendar", {"run_at": "'9999-12-31 12:00+00'"}),
    ("run_at_in_the_calendar", {"run_at": "'0044-03-15 BC'"}),
    ("max_attempts_from_1_to_1000", {"max_attempts": "0"}),
    ("max_attempts_from_1_to_1000", {"max_attempts": "1001"}),
    ("timeout_from_1_to_86400_seconds", {"timeout_seconds": "0"}),
    ("timeout_from_1_to_86400_seconds", {"timeout_seconds": "86401"}),
    ("times_in_the_calendar", {"created_at": "'infinity'"}),
    ("times_in_the_calendar", {"created_at": "'0044-03-15 BC'"}),
    ("times_in_the_calendar", {"updated_at": "'12000-01-01'"}),
    ("times_in_the_calendar", {"updated_at": "'-infinity'"}),
    ("times_in_the_calendar", {"started_at": "'-infinity'"}),
    ("times_in_the_calendar", {"started_at": "'infinity'"}),
    ("counters_in_range", {"attempt": "2147483647"}),
    ("counters_in_range", {"attempts": "2147483647"}),
    ("counters_in_range", {"attempts": "-1"}),
    ("counters_in_range", {"attempt": "-1"}),
    ("counters_in_range", {"crashes": "2147483647"}),
    ("counters_in_range", {"crashes": "-1"}),
    ("counters_in_range", {"snoozes": "2147483647"}),
    ("counters_in_range", {"snoozes": "-1"}),
    ("payload_is_an_object", {"payload": "'[]'"}),
    ("payload_is_an_object", {"payload": "'null'"}),
    ("errors_is_an_array", {"errors": "'{}'"}),
    ("idempotency_key_from_1_to_255", {"idempotency_key": "''"}),
    ("idempotency_key_from_1_to_255", {"idempotency_key": "repeat('k', 256)"}),
    ("tags_up_to_10_of_1_to_64", {"tags": "'{\"\"}'"}),
    ("tags_up_to_10_of_1_to_64", {"tags": "ARRAY['a', repeat('t', 65)]"}),
    ("tags_up_to_10_of_1_to_64", {"tags": "'[5:6]={a,\"\"}'"}),
    ("tags_up_to_10_of_1_to_64", {"tags": "'{a,NULL}'"}),
    ("tags_up_to_10_of_1_to_64", {"tags": "'{1,2,3,4,5,6,7,8,9,10,11}'"}),
    ("tags_up_to_10_of_1_to_64", {"tags": "'{{a,b},{c,d}}'"}),
]
REFUSED_IN_HISTORY = [
    ("status_is_final", {"status": "'running'"}),
    ("status_is_final", {"status": "'queued'"}),
    ("result_iff_succeeded", {"status": "'cancelled'", "result": "'1'"}),
    ("result_iff_succeeded", {"status": "'failed_permanent'", "result": "'null'"}),
]
REFUSED_ELSEWHERE = [
    (
        "key_from_1_to_288",
        "INSERT INTO haulier.idempotency (key, fingerprint, job_id) VALUES ('', '', haulier.uuidv7())",
    ),
    (
        "key_from_1_to_288",
        "INSERT INTO haulier.idempotency (key, fingerprint, job_id) VALUES (repeat('k', 289), '', haulier.uuidv7())",
    ),
    ("action_is_known", "INSERT INTO haulier.audit (action, key_id) VALUES ('sigh', 'abc')"),
    ("done_to_one_thing", "INSERT INTO haulier.audit (action) VALUES ('cancel')"),
    ("target_up_to_200", "INSERT INTO haulier.audit (action, target) VALUES ('mute', repeat('t', 201))"),
    ("details_is_an_object", "INSERT INTO haulier.audit (action, target, details) VALUES ('mute', 'abc', '[]')"),
    ("audited_in_the_calendar", "INSERT INTO haulier.audit (at, action, target) VALUES ('infinity', 'mute', 'abc')"),
    ("done_to_one_thing", "INSERT INTO haulier.audit (action, key_id, target) VALUES ('mute', 'abc', 'abc')"),
    (
        "counting_one_row_check",
        "INSERT INTO haulier.counting (one_row, through, folded, recounted) VALUES (false, now(), now(), now())",
    ),
    (
        "done_to_one_thing",
        "INSERT INTO haulier.audit (action, job_id, key_id) VALUES ('cancel', haulier.uuidv7(), 'abc')",
    ),
    *(
        (
            constraint,
            "INSERT INTO haulier.preview (as_of, unseen, doubted, cluster, action, filter, matched_is)"
            f" VALUES (now(), '{{}}', 'empty', 1, {values})",
        )
        for constraint, values in (
            ("filter_is_some", "'retry', '{}', NULL"),
            ("filter_is_some", "'retry', '[\"all\"]', NULL"),
            ("matched_is_known", "'retry', '{\"all\": true}', 'many'"),
            ("preview_is_known", "'drop', '{\"all\": true}', NULL"),
        )
    ),
    *(
        (
            constraint,
            "INSERT INTO haulier.operation (as_of, starts_at, next_at, unseen, doubted, cluster, action, filter,"
            f" matched, matched_is, status) VALUES (now(), now(), now(), '{{}}', 'empty', 1, {values})",
        )
        for constraint, values in (
            ("operation_is_known", "'sigh', '{\"all\": true}', 0, 'exact', 'done'"),
            ("filter_is_some", "'retry', '{}', 0, 'exact', 'done'"),
            ("filter_is_some", "'retry', '1', 0, 'exact', 'done'"),
            ("counted_from_0", "'retry', '{\"all\": true}', -1, 'exact', 'done'"),
            ("matched_is_known", "'retry', '{\"all\": true}', 0, 'many', 'done'"),
            ("status_is_known", "'retry', '{\"all\": true}', 0, 'exact', 'dead'"),
        )
    ),
    (
        "cursor_in_the_calendar",
        "INSERT INTO haulier.operation (as_of, starts_at, next_at, unseen, doubted, cluster, action, filter, matched,"
        " matched_is, cursor_at) VALUES (now(), now(), now(), '{}', 'empty', 1, 'retry', '{\"all\": true}', 0, 'exact',"
        " 'infinity')",
    ),
    (
        "muted_until_in_the_calendar",
        "INSERT INTO haulier.error_group (id, kind, text, example, example_job, example_queue, muted_until)"
        " VALUES (1, 'mail', 'no', 'no', haulier.uuidv7(), 'default', '294276-01-01')",
    ),
    (
        "lease_is_positive",
        "INSERT INTO haulier.worker (host, pid, threads, lease) VALUES ('dock', 7, 8, interval '0')",
    ),
    *(
        (constraint, f"INSERT INTO haulier.progress VALUES (haulier.uuidv7(), haulier.uuidv7(), {values}, now())")
        for constraint, values in (
            ("progress_in_range", "-1, NULL, NULL"),
            ("progress_in_range", "'NaN', NULL, NULL"),
            ("progress_in_range", "0, 'NaN', NULL"),
            ("progress_in_range", "9007199254740994, NULL, NULL"),
            ("progress_in_range", "0, -1, NULL"),
            ("progress_in_range", "0, 'Infinity', NULL"),
            ("note_up_to_200", "0, NULL, repeat('n', 201)"),
        )
    ),
    (
        "end_is_known",
        "INSERT INTO haulier.worker_past (id, host, pid, threads, started_at, beat_at, lease_ends, ended_how)"
        " VALUES (haulier.uuidv7(), 'dock', 7, 8, now(), now(), now(), 'tired')",
    ),
    ("pause_is_a_queues", "INSERT INTO haulier.pause (queue) VALUES ('A b')"),
    ("until_in_the_calendar", "INSERT INTO haulier.pause (queue, until) VALUES ('mail', 'infinity')"),
    ("name_is_a_queues", "INSERT INTO haulier.queue (name) VALUES ('A b')"),
    *(
        (constraint, f"INSERT INTO haulier.session (hash, key_id, key_hash, seen_at, expires_at) VALUES ({values})")
        for constraint, values in (
            ("session_hashes_are_sha_256", "'secret', 'abc', sha256(''), now(), now()"),
            ("session_hashes_are_sha_256", "sha256(''), 'abc', 'secret', now(), now()"),
            ("session_key_id_from_1_to_100", "sha256(''), '', sha256(''), now(), now()"),
            ("session_lasts_168_hours", "sha256(''), 'abc', sha256(''), now(), now() + interval '169 hours'"),
            ("session_times_in_the_calendar", "sha256(''), 'abc', sha256(''), 'infinity', now()"),
            ("session_times_in_the_calendar", "sha256(''), 'abc', sha256(''), now(), '0044-03-15 BC'"),
        )
    ),
    (
        "schema_version_one_row_check",
        "INSERT INTO haulier.schema_version (version, compatible_from, one_row) VALUES (1, 1, false)",
    ),
]

KEY = {"id": "'abc'", "name": "'Ann'", "hash": "sha256('')", "scopes": "'{read}'"}
REFUSED_KEYS = [
    ("id_is_of_letters_and_digits", {"id": "'a b'"}),
    ("id_is_of_letters_and_digits", {"id": "''"}),
    ("id_is_of_letters_and_digits", {"id": "repeat('a', 33)"}),
    ("name_from_1_to_100", {"name": "''"}),
    ("hash_is_a_sha_256", {"hash": "'secret'"}),
    ("hash_is_a_sha_256", {"previous_hash": "'secret'", "previous_until": "now()"}),
    ("previous_hash_has_an_end", {"previous_hash": "sha256('')"}),
    ("scopes_are_known", {"scopes": "'{}'"}),
    ("scopes_are_known", {"scopes": "'{read,root}'"}),
    ("queues_are_some", {"queues": "'{}'"}),
    ("rate_limit_is_positive", {"rate_limit": "0"}),
    ("rate_limit_is_positive", {"rate_limit": "'NaN'"}),
    ("rate_limit_is_positive", {"rate_limit": "'Infinity'"}),
    ("key_times_in_the_calendar", {"expires_at": "'infinity'"}),
    ("key_times_in_the_calendar", {"last_used_at": "'294276-01-01'"}),
    ("key_times_in_the_calendar", {"revoked_at": "'0044-03-15 BC'"}),
]

SCHEDULE = {
    "name": "'nightly'", "cron": "'0 2 * * *'", "time_zone": "'UTC'", "job": """'{"kind": "mail", "payload": {}}'""",
    "overlap": "'allow'", "missed": "'last'", "counts_from": "now()", "decided_to": "now()", "look_at": "now()",
}  # fmt: skip
REFUSED_SCHEDULES = [
    ("name_is_a_schedules", {"name": "'A b'"}),
    ("name_is_a_schedules", {"name": "''"}),
    ("name_is_a_schedules", {"name": "E'nightly\\n'"}),
    ("name_is_a_schedules", {"name": "repeat('n', 65)"}),
    ("cron_or_every_seconds", {"cron": "NULL"}),
    ("cron_or_every_seconds", {"every_seconds": "5"}),
    ("cron_up_to_200_time_zone_up_to_64", {"cron": "repeat('*', 201)"}),
    ("cron_up_to_200_time_zone_up_to_64", {"time_zone": "repeat('z', 65)"}),
    ("every_from_1_to_31536000_seconds", {"cron": "NULL", "every_seconds": "0"}),
    ("job_is_an_object", {"job": "'[]'"}),
    ("job_is_an_object", {"job": """'{"kind": "mail"}'"""}),
    ("overlap_is_known", {"overlap": "'never'"}),
    ("missed_is_known", {"missed": "'some'"}),
    ("all_has_bounds", {"missed": "'all'"}),
    ("all_has_bounds", {"missed_max": "5"}),
    ("missed_from_1_to_1000", {"missed": "'all'", "missed_max": "1001", "missed_within_seconds": "60"}),
    ("missed_within_is_positive", {"missed": "'all'", "missed_max": "5", "missed_within_seconds": "0"}),
    ("jitter_from_0_to_86400_seconds", {"jitter_seconds": "-1"}),
    ("source_is_known", {"source": "'gift'"}),
    ("pause_has_a_beginning", {"paused_until": "now()"}),
    ("refusals_have_a_reason", {"refusals": "1", "refused_since": "now()"}),
    ("refusals_have_a_reason", {"refusals": "1", "refusal": "'no'"}),
    ("refusals_have_a_reason", {"refused_since": "now()", "refusal": "'no'"}),
    ("schedule_times_in_the_calendar", {"look_at": "'infinity'"}),
    ("schedule_times_in_the_calendar", {"paused_since": "now()", "paused_until": "'294276-01-01'"}),
    ("schedule_times_in_the_calendar", {"counts_from": "'0044-03-15 BC'"}),
]
TICK = {"schedule": "'nightly'", "schedule_id": "7", "scheduled_at": "now()", "outcome": "'skipped_missed'"}
REFUSED_TICKS = [
    ("outcome_is_known", {"outcome": "'lost'"}),
    ("fired_has_a_job", {"outcome": "'fired'"}),
    ("fired_has_a_job", {"job_id": A_WORKER}),
]


def insert(table: str, values: dict[str, str]) -> str:
    return f"INSERT INTO haulier.{table} ({', '.join(values)}) VALUES ({', '.join(values.values())}) RETURNING *"


@pytest.mark.parametrize(("constraint", "change"), REFUSED)
def test_refuses_a_live_job_that_may_not_be(sql, constraint, change):
    with pytest.raises(errors.CheckViolation) as raised:
        sql(insert("job", {**LIVE, **change}))

    assert raised.value.diag.constraint_name == constraint


@pytest.mark.parametrize(("constraint", "change"), REFUSED_IN_HISTORY)
def test_refuses_a_finished_job_that_may_not_be(sql, constraint, change):
    with pytest.raises(errors.CheckViolation) as raised:
        sql(insert("finished_job", {**FINISHED, **change}))

    assert raised.value.diag.constraint_name == constraint


@pytest.mark.parametrize(("constraint", "change"), REFUSED_KEYS)
def test_refuses_a_key_that_may_not_be(sql, constraint, change):
    with pytest.raises(errors.CheckViolation) as raised:
        sql(insert("api_key", {**KEY, **change}))

    assert raised.value.diag.constraint_name == constraint


@pytest.mark.parametrize(
    ("table", "row", "constraint", "change"),
    [
        *(("schedule", SCHEDULE, *each) for each in REFUSED_SCHEDULES),
        *(("tick", TICK, *each) for each in REFUSED_TICKS),
    ],
)
def test_refuses_a_schedule_and_a_tick_that_may_not_be(sql, table, row, constraint, change):
    with pytest.raises(errors.CheckViolation) as raised:
        sql(insert(table, {**row, **change}))

    assert raised.value.diag.constraint_name == constraint


def test_takes_the_schedule_and_the_tick_that_the_refused_ones_differ_from(sql):
    assert sql(insert("schedule", SCHEDULE))
    assert sql(insert("tick", TICK))


def test_takes_the_key_that_the_refused_ones_differ_from(sql):
    more = {"previous_hash": "sha256('')", "previous_until": "now()", "queues": "'{mail}'", "rate_limit": "0.5"}

    assert sql(insert("api_key", KEY))
    assert sql(insert("api_key", {**KEY, **more, "id": "repeat('a', 32)"}))


@pytest.mark.parametrize(("constraint", "statement"), REFUSED_ELSEWHERE)
def test_refuses_other_rows_that_may_not_be(sql, constraint, statement):
    with pytest.raises(errors.CheckViolation) as raised:
        sql(statement)

    assert raised.value.diag.constraint_name == constraint


@pytest.mark.parametrize("table", ["job", "finished_job"])
def test_takes_the_rows_that_the_refused_ones_differ_from(sql, table):
    assert sql(insert(table, LIVE if table == "job" else FINISHED))
    assert table == "finished_job" or sql(insert(table, {**LIVE, **RUNNING}))


BOUNDS = [
    {"kind": "repeat('m', 64)", "queue": "'a._-9'"},
    {"priority": "-100", "max_attempts": "1", "timeout_seconds": "1"},
    {"priority": "100", "max_attempts": "1000", "timeout_seconds": "86400"},
    {"run_at": "'9999-12-30 23:59:59+00'"},
    {"run_at": "'1970-01-01 00:00:00+00'"},
    {"idempotency_key": "repeat('k', 255)"},
    {"tags": "array_fill(repeat('🚚', 64), '{10}')"},
    {"tags": "'{}'"},
    {"tags": "'[5:6]={a,a}'"},
]


@pytest.mark.parametrize("change", BOUNDS)
def test_takes_a_live_job_up_to_the_bounds(sql, conn, change):
    [[job_id, *_]] = sql(insert("job", {**LIVE, **change}))

    assert produce.get(conn, job_id).status is JobStatus.QUEUED


def test_every_named_check_is_tested_here(sql):
    tested = {name for name, _ in REFUSED + REFUSED_IN_HISTORY + REFUSED_KEYS + REFUSED_ELSEWHERE}
    tested |= {name for name, _ in REFUSED_SCHEDULES + REFUSED_TICKS}

    checks = sql(
        "SELECT DISTINCT conname FROM pg_constraint"
        " WHERE connamespace = 'haulier'::regnamespace AND contype = 'c' AND conparentid = 0"
    )

    assert {row[0] for row in checks} == tested
