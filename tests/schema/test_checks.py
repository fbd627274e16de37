"""What schema.sql does not let be stored: it ..."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg2.errors import CheckViolation

from haulier.domain.job import JobStatus
from haulier.queue import search

Values = dict[str, str]

A_WORKER = "'01980000-0000-7000-8000-000000000007'"
RUNNING = {"status": "'running'", "worker_id": A_WORKER, "claim": A_WORKER, "started_at": "now()"}
OF_OPERATIONS = {"as_of": "now()", "unseen": "'{}'", "doubted": "'empty'", "cluster": "1"}

# A row of each table that is stored as it is.
ROWS: dict[str, Values] = {
    "job": {"kind": "'mail'", "payload": "'{}'"},
    "finished_job": {
        "id": "haulier.uuidv7()", "status": "'succeeded'", "kind": "'mail'", "queue": "'default'", "priority": "0",
        "run_at": "now()", "attempt": "1", "attempts": "1", "max_attempts": "3", "crashes": "0", "snoozes": "0",
        "cancel_requested": "false", "payload": "'{}'", "errors": "'[]'", "created_at": "now()", "updated_at": "now()",
        "finished_at": "now()",
    },
    "idempotency": {"key": "'k'", "fingerprint": "''", "job_id": "haulier.uuidv7()"},
    "audit": {"action": "'mute'", "target": "'abc'"},
    "counting": {"through": "now()", "folded": "now()", "recounted": "now()"},
    "preview": OF_OPERATIONS | {"action": "'retry'", "filter": "'{\"all\": true}'"},
    "operation": OF_OPERATIONS | {
        "starts_at": "now()", "next_at": "now()", "action": "'retry'", "filter": "'{\"all\": true}'", "matched": "0",
        "matched_is": "'exact'",
    },
    "error_group": {
        "id": "1", "kind": "'mail'", "text": "'no'", "example": "'no'", "example_job": "haulier.uuidv7()",
        "example_queue": "'default'",
    },
    "worker": {"host": "'dock'", "pid": "7", "threads": "8", "lease": "interval '30 s'"},
    "progress": {
        "job_id": "haulier.uuidv7()",
        "claim": "haulier.uuidv7()",
        "done": "0",
        "at": "now()",
        "first_done": "0",
        "first_at": "now()",
    },
    "worker_past": {
        "id": "haulier.uuidv7()", "host": "'dock'", "pid": "7", "threads": "8", "started_at": "now()",
        "beat_at": "now()", "lease_ends": "now()", "ended_how": "'buried'",
    },
    "deployment": {"process": "'web'", "release": "'1.0'"},
    "acknowledged": {"rule": "'late'", "thing": "'mail'", "sight": "''", "size": "3"},
    "pause": {"queue": "'mail'"},
    "queue": {"name": "'mail'"},
    "session": {
        "hash": "sha256('')", "key_id": "'abc'", "key_hash": "sha256('')", "seen_at": "now()", "expires_at": "now()",
    },
    "schema_version": {"version": "1", "compatible_from": "1"},
    "api_key": {"id": "'abc'", "name": "'Ann'", "hash": "sha256('')", "scopes": "'{read}'"},
    "schedule": {
        "name": "'nightly'", "cron": "'0 2 * * *'", "time_zone": "'UTC'", "overlap": "'allow'", "missed": "'last'",
        "job": """'{"kind": "mail", "payload": {}}'""", "counts_from": "now()", "decided_to": "now()",
        "look_at": "now()",
    },
    "tick": {"schedule": "'nightly'", "schedule_id": "7", "scheduled_at": "now()", "outcome": "'skipped_missed'"},
}  # fmt: skip
# Rows that are stored, each of which differs from its table's row above by these values.
BOUNDS: dict[str, list[Values]] = {
    "job": [
        RUNNING,
        {"kind": "repeat('m', 64)", "queue": "'a._-9'"},
        {"priority": "-100", "max_attempts": "1", "timeout_seconds": "1"},
        {"priority": "100", "max_attempts": "1000", "timeout_seconds": "86400"},
        {"run_at": "'9999-12-30 23:59:59+00'"},
        {"run_at": "'1970-01-01 00:00:00+00'"},
        {"idempotency_key": "repeat('k', 255)"},
        {"tags": "array_fill(repeat('🚚', 64), '{10}')"},
        {"tags": "'{}'"},
        {"tags": "'[5:6]={a,a}'"},
    ],
    "api_key": [
        {
            **{"id": "repeat('a', 32)", "previous_hash": "sha256('')", "previous_until": "now()"},
            **{"queues": "'{mail}'", "rate_limit": "0.5"},
        }
    ],
}
# Rows that a constraint refuses, each of which differs from its table's row above by these values.
REFUSED: dict[str, dict[str, list[Values]]] = {
    "job": {
        "status_is_live": [{"status": "'succeeded'"}, {"status": "'Queued'"}],
        "worker_iff_running": [{**RUNNING, "worker_id": "NULL"}, {**RUNNING, "status": "'queued'"}],
        "running_has_a_claim": [
            {"worker_id": A_WORKER},
            {**RUNNING, "claim": "NULL"},
            {**RUNNING, "started_at": "NULL"},
        ],
        "kind_is_a_name": [{"kind": kind} for kind in ("''", "'Mail'", "E'mail\\n'", "E'x\\nmail'", "repeat('m', 65)")],
        "queue_is_a_name": [{"queue": queue} for queue in ("''", "'a b'", "repeat('q', 65)", "E'mail\\n'")],
        "priority_from_minus_100_to_100": [{"priority": "101"}, {"priority": "-101"}],
        "run_at_in_the_calendar": [
            {"run_at": at}
            for at in ("'infinity'", "'-infinity'", "'10000-01-01'", "'9999-12-31 12:00+00'", "'0044-03-15 BC'")
        ],
        "max_attempts_from_1_to_1000": [{"max_attempts": "0"}, {"max_attempts": "1001"}],
        "timeout_from_1_to_86400_seconds": [{"timeout_seconds": "0"}, {"timeout_seconds": "86401"}],
        "times_in_the_calendar": [
            {column: at}
            for column in ("created_at", "updated_at", "started_at")
            for at in ("'infinity'", "'0044-03-15 BC'")
        ],
        "counters_in_range": [
            {column: count}
            for column in ("attempt", "attempts", "crashes", "snoozes")
            for count in ("-1", "2147483647")
        ],
        "suspect_after_a_crash": [{"crashes": "1"}, {"suspect": "true"}],
        "payload_is_an_object": [{"payload": "'[]'"}, {"payload": "'null'"}],
        "errors_is_an_array": [{"errors": "'{}'"}],
        "idempotency_key_from_1_to_255": [{"idempotency_key": "''"}, {"idempotency_key": "repeat('k', 256)"}],
        "tags_up_to_10_of_1_to_64": [
            {"tags": "'{\"\"}'"},
            {"tags": "ARRAY['a', repeat('t', 65)]"},
            {"tags": "'[5:6]={a,\"\"}'"},
            {"tags": "'{a,NULL}'"},
            {"tags": "'{1,2,3,4,5,6,7,8,9,10,11}'"},
            {"tags": "'{{a,b},{c,d}}'"},
        ],
    },
    "finished_job": {
        "status_is_final": [{"status": "'running'"}, {"status": "'queued'"}],
        "result_iff_succeeded": [
            {"status": "'cancelled'", "result": "'1'"},
            {"status": "'failed_permanent'", "result": "'null'"},
        ],
    },
    "idempotency": {
        "key_from_1_to_288": [{"key": "''"}, {"key": "repeat('k', 289)"}],
        "job_is_in_a_cell": [{"cell": "0"}, {"cell": "256"}],
    },
    "audit": {
        "action_is_known": [{"action": "'sigh'"}],
        "done_to_one_thing": [{"target": "NULL"}, {"key_id": "'abc'"}, {"job_id": A_WORKER, "key_id": "'abc'"}],
        "target_up_to_200": [{"target": "repeat('t', 201)"}],
        "details_is_an_object": [{"details": "'[]'"}],
        "audited_in_the_calendar": [{"at": "'infinity'"}],
    },
    "counting": {"counting_one_row_check": [{"one_row": "false"}]},
    "preview": {
        "filter_is_some": [{"filter": "'{}'"}, {"filter": "'[\"all\"]'"}],
        "matched_is_known": [{"matched_is": "'many'"}],
        "preview_is_known": [{"action": "'drop'"}],
    },
    "operation": {
        "operation_is_known": [{"action": "'sigh'"}],
        "filter_is_some": [{"filter": "'{}'"}, {"filter": "'1'"}],
        "counted_from_0": [{"matched": "-1"}],
        "matched_is_known": [{"matched_is": "'many'"}],
        "status_is_known": [{"status": "'dead'"}],
        "cursor_in_the_calendar": [{"cursor_at": "'infinity'"}],
    },
    "error_group": {"muted_until_in_the_calendar": [{"muted_until": "'294276-01-01'"}]},
    "worker": {"lease_is_positive": [{"lease": "interval '0'"}]},
    "progress": {
        "progress_in_range": [
            *({"done": done} for done in ("-1", "'NaN'", "9007199254740994")),
            *({"total": total} for total in ("-1", "'NaN'", "'Infinity'")),
            {"first_done": "-1"},
        ],
        "note_up_to_200": [{"note": "repeat('n', 201)"}],
    },
    "worker_past": {"end_is_known": [{"ended_how": "'tired'"}]},
    "deployment": {"process_is_known": [{"process": "'cron'"}]},
    "acknowledged": {
        "thing_up_to_200": [{"thing": "repeat('x', 201)"}],
        "acknowledged_in_the_calendar": [{"at": "'infinity'"}],
    },
    "pause": {
        "pause_is_a_queues": [{"queue": "'A b'"}],
        "until_in_the_calendar": [{"until": "'infinity'"}],
        "reason_from_1_to_200": [{"reason": "''"}, {"reason": "repeat('x', 201)"}],
    },
    "queue": {"name_is_a_queues": [{"name": "'A b'"}]},
    "session": {
        "session_hashes_are_sha_256": [{"hash": "'secret'"}, {"key_hash": "'secret'"}],
        "session_key_id_from_1_to_100": [{"key_id": "''"}],
        "session_lasts_168_hours": [{"expires_at": "now() + interval '169 hours'"}],
        "session_times_in_the_calendar": [{"seen_at": "'infinity'"}, {"expires_at": "'0044-03-15 BC'"}],
    },
    "schema_version": {
        "schema_version_one_row_check": [{"one_row": "false"}],
        "schema_version_cell_check": [{"cell": "0"}, {"cell": "256"}],
    },
    "api_key": {
        "id_is_of_letters_and_digits": [{"id": "'a b'"}, {"id": "''"}, {"id": "repeat('a', 33)"}],
        "name_from_1_to_100": [{"name": "''"}],
        "hash_is_a_sha_256": [{"hash": "'secret'"}, {"previous_hash": "'secret'", "previous_until": "now()"}],
        "previous_hash_has_an_end": [{"previous_hash": "sha256('')"}],
        "scopes_are_known": [{"scopes": "'{}'"}, {"scopes": "'{read,root}'"}],
        "queues_are_some": [{"queues": "'{}'"}],
        "moved_to_a_cell": [{"moved_to": "0"}, {"moved_to": "256"}],
        "rate_limit_is_positive": [{"rate_limit": rate} for rate in ("0", "'NaN'", "'Infinity'")],
        "key_times_in_the_calendar": [
            {"expires_at": "'infinity'"},
            {"last_used_at": "'294276-01-01'"},
            {"revoked_at": "'0044-03-15 BC'"},
        ],
    },
    "schedule": {
        "name_is_a_schedules": [{"name": name} for name in ("'A b'", "''", "E'nightly\\n'", "repeat('n', 65)")],
        "cron_or_every_seconds": [{"cron": "NULL"}, {"every_seconds": "5"}],
        "cron_up_to_200_time_zone_up_to_64": [{"cron": "repeat('*', 201)"}, {"time_zone": "repeat('z', 65)"}],
        "every_from_1_to_31536000_seconds": [{"cron": "NULL", "every_seconds": "0"}],
        "job_is_an_object": [{"job": "'[]'"}, {"job": """'{"kind": "mail"}'"""}],
        "overlap_is_known": [{"overlap": "'never'"}],
        "missed_is_known": [{"missed": "'some'"}],
        "all_has_bounds": [{"missed": "'all'"}, {"missed_max": "5"}],
        "missed_from_1_to_1000": [{"missed": "'all'", "missed_max": "1001", "missed_within_seconds": "60"}],
        "missed_within_is_positive": [{"missed": "'all'", "missed_max": "5", "missed_within_seconds": "0"}],
        "jitter_from_0_to_86400_seconds": [{"jitter_seconds": "-1"}],
        "source_is_known": [{"source": "'gift'"}],
        "pause_has_a_beginning": [{"paused_until": "now()"}],
        "refusals_have_a_reason": [
            {"refusals": "1", "refused_since": "now()"},
            {"refusals": "1", "refusal": "'no'"},
            {"refused_since": "now()", "refusal": "'no'"},
        ],
        "schedule_times_in_the_calendar": [
            {"look_at": "'infinity'"},
            {"paused_since": "now()", "paused_until": "'294276-01-01'"},
            {"counts_from": "'0044-03-15 BC'"},
        ],
    },
    "tick": {
        "outcome_is_known": [{"outcome": "'lost'"}],
        "fired_has_a_job": [{"outcome": "'fired'"}, {"job_id": A_WORKER}],
    },
}
# They have one row, which is there.
OF_ONE_ROW = {"counting", "schema_version"}


def insert(table: str, change: Values) -> str:
    values = ROWS[table] | change
    return f"INSERT INTO haulier.{table} ({', '.join(values)}) VALUES ({', '.join(values.values())}) RETURNING *"


def refused_rows() -> Iterator[tuple[str, str, Values]]:
    for table, by_constraint in REFUSED.items():
        for constraint, changes in by_constraint.items():
            for change in changes:
                yield table, constraint, change


def test_refuses_each_row_that_may_not_be_by_the_constraint_named_for_it(sql):
    wrong = []
    for table, constraint, change in refused_rows():
        try:
            sql(insert(table, change))
        except CheckViolation as error:
            refused_by = error.diag.constraint_name
        else:
            refused_by = None
        if refused_by != constraint:
            wrong.append((table, change, constraint, refused_by))

    assert wrong == []


def test_stores_the_rows_that_the_refused_ones_differ_from_and_those_at_the_bounds(sql, conn):
    for table in ROWS.keys() - OF_ONE_ROW:
        for change in [{}, *BOUNDS.get(table, [])]:
            assert sql(insert(table, change))

    jobs = [each.read() for each in search.list_jobs(conn, search.JobFilter(statuses=["queued"])).jobs]
    assert len(jobs) == len(BOUNDS["job"])
    assert {job.status for job in jobs} == {JobStatus.QUEUED}


def test_every_named_check_is_tested_here(sql):
    checks = sql(
        "SELECT DISTINCT conname FROM pg_constraint"
        " WHERE connamespace = 'haulier'::regnamespace AND contype = 'c' AND conparentid = 0"
    )

    assert {row[0] for row in checks} == {constraint for _, constraint, _ in refused_rows()}
