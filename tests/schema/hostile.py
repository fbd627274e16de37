"""Calls of every function of the schema with hostile arguments, and what a database holds for them to harm."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from psycopg2.extensions import connection as Connection

from tests.schema.permitted import ask

KEY, ENDED_KEY = "goodgoodgood", "badbadbadbad"
WAITING, RUNNING, FAILED, CANCELLED = (f"01980000-0000-7000-8000-00000000000{digit}" for digit in "1234")
WORKER, PREVIEW, LIVE = (f"01980000-0000-7000-8000-00000000000{digit}" for digit in "567")
OPERATION, CHANGE, ENDED = (f"01980000-0000-7000-8000-00000000000{digit}" for digit in "89a")

# A job of each state; a key that is good and one that is not; a schedule that is due, one that is paused, one of
# schedules.toml and one whose job is live; operations that are worked off, and one that was cancelled.
WORLD = f"""
INSERT INTO haulier.api_key (id, name, hash, scopes, revoked_at) VALUES
    ('{KEY}', 'good', sha256('good'), '{{admin}}', NULL), ('{ENDED_KEY}', 'bad', sha256('bad'), '{{admin}}', now());
INSERT INTO haulier.session (hash, key_id, key_hash, expires_at)
    VALUES (sha256('open'), '{KEY}', sha256('good'), now() + interval '1 hour');
INSERT INTO haulier.worker (id, host, pid, threads, lease) VALUES ('{WORKER}', 'dock', 7, 1, '1 hour');
INSERT INTO haulier.job (id, kind, payload, tags, schedule) VALUES
    ('{WAITING}', 'mail', '{{"to": "a"}}', '{{a}}', NULL), ('{LIVE}', 'mail', '{{}}', NULL, 'busy');
INSERT INTO haulier.job (id, kind, payload, status, worker_id, claim, started_at, attempt, attempts)
    VALUES ('{RUNNING}', 'mail', '{{}}', 'running', '{WORKER}', haulier.uuidv7(), now(), 1, 1);
INSERT INTO haulier.finished_job (
    id, status, kind, queue, priority, run_at, attempt, attempts, max_attempts, crashes, snoozes, cancel_requested,
    payload, errors, created_at, updated_at, finished_at)
SELECT id::uuid, status, 'mail', 'default', 0, now(), 1, 1, 3, 0, 0, false, '{{}}', '[]', now(), now(), now()
FROM (VALUES ('{FAILED}', 'failed_permanent'), ('{CANCELLED}', 'cancelled')) AS ended (id, status);
INSERT INTO haulier.error_group (id, kind, text, example, example_job, example_queue)
    VALUES (7, 'mail', 'no', 'no', '{FAILED}', 'default');
INSERT INTO haulier.pause (queue) VALUES ('held');
INSERT INTO haulier.schedule (
    name, every_seconds, time_zone, job, overlap, missed, source, paused_since, counts_from, decided_to, look_at)
SELECT name, 60, 'UTC', '{{"kind": "mail", "payload": {{}}}}', overlap, 'last', source, paused_since, at, at, at
FROM (SELECT date_trunc('second', now()) - interval '10 minutes') AS made (at)
CROSS JOIN (VALUES
    ('due', 'allow', 'api', NULL), ('held', 'allow', 'api', now() - interval '1 hour'),
    ('filed', 'allow', 'file', NULL), ('busy', 'skip', 'api', NULL)) AS rule (name, overlap, source, paused_since);
INSERT INTO haulier.preview (id, as_of, action, filter, unseen, doubted, cluster, matched, matched_is)
    SELECT '{PREVIEW}', now(), 'cancel', '{{"all": true}}', '{{}}', 'empty', system_identifier, 3, 'exact'
    FROM pg_control_system();
INSERT INTO haulier.operation (
    id, actor, action, filter, changes, as_of, unseen, doubted, cluster, matched, matched_is, starts_at, next_at,
    status, worked_by, worked_until, started_at)
SELECT id::uuid, '{KEY}', action, '{{"all": true}}', '{{"queue": "b"}}', now(), '{{}}', 'empty', system_identifier, 3,
    'exact', now(), now(), status, worked_by::uuid, now() + interval '8 s', now()
FROM pg_control_system()
CROSS JOIN (VALUES ('{OPERATION}', 'cancel', 'running', '{WORKER}'), ('{CHANGE}', 'change', 'running', '{WORKER}'),
    ('{ENDED}', 'cancel', 'cancelled', NULL)) AS begun (id, action, status, worked_by);
"""

# An entry of the record that has expired.
EXPIRED = "INSERT INTO haulier.audit (at, action, target) VALUES (now() - interval '99 days', 'pause', 'old')"

_TICK = "(SELECT counts_from + interval '60 s' FROM haulier.schedule WHERE name = 'due')"
_PARTITION = "(SELECT max(inhrelid)::oid FROM pg_inherits WHERE inhparent = 'haulier.finished_job'::regclass)"
# How a program calls each function, in the order of the arguments. Arguments that are not here are null.
USUAL: dict[str, dict[str, str]] = {
    "wake": {"served": "'{default}'"},
    "mute_errors": {"muted": "7", "until": "now() + interval '1 hour'"},
    "quiet_worker": {"quieted": f"'{WORKER}'", "is_quiet": "true"},
    "pause_queue": {"paused": "'default'", "paused_until": "now() + interval '1 hour'"},
    "resume_queue": {"resumed": "'held'"},
    "create_key": {
        "made": "'newnewnewnew'", "named": "'new'", "hashed": "sha256('new')", "may": "'{read}'",
        "within": "'{default}'", "rate": "1", "lifetime": "'1 day'",
    },
    "rotate_key": {"rotated": f"'{KEY}'", "hashed": "sha256('new')", "overlap": "'1 day'"},
    "revoke_key": {"revoked": f"'{KEY}'"},
    "open_session": {
        "opened": "sha256('new')", "key": f"'{KEY}'", "key_hashed": "sha256('good')", "idle": "'1 hour'",
        "most_others": "99",
    },
    "sign_out": {"ended": "sha256('open')"},
    "put_schedule": {
        "named": "'due'",
        "rule": """'{"every_seconds": 60, "time_zone": "UTC", "overlap": "allow", "missed": "last", "jitter_seconds": 0,
            "job": {"kind": "mail", "payload": {}}}'""",
        "counted_from": "now()", "next": "now() + interval '1 minute'", "look": "now()", "is_new": "false",
        "noted": "'{}'",
    },
    "delete_schedule": {"named": "'due'"},
    "pause_schedule": {"named": "'due'", "until": "now() + interval '1 hour'"},
    "resume_schedule": {"named": "'held'"},
    "run_schedule": {"named": "'due'"},
    "decide_ticks": {
        "names": "'{due}'", "decisions": "'{1}'", "decided_tos": f"ARRAY[{_TICK}]", "pendings": "'{NULL}'",
        "nexts": "ARRAY[now()]", "looks": "ARRAY[now()]", "of_decisions": "'{1}'", "ats": f"ARRAY[{_TICK}]",
        "outcomes": "'{fired}'",
    },
    "decide_apart": {
        "at_a_time": "6", "names": "'{due}'", "decisions": "'{1}'", "decided_tos": f"ARRAY[{_TICK}]",
        "pendings": "'{NULL}'", "nexts": "ARRAY[now()]", "looks": "ARRAY[now()]", "of_decisions": "'{1}'",
        "ats": f"ARRAY[{_TICK}]", "outcomes": "'{fired}'",
    },
    "put_off": {"named": "'due'", "why": "'no'", "may_pass": "false"},
    "add_partition": {"step": "'day'", "days_ahead": "31"},
    "detach_partition": {"partition": _PARTITION, "retention_days": "30"},
    "finish_detach": {"partition": _PARTITION},
    "drop_partition": {"detached": _PARTITION},
    "summarize_history": {},
    "purge_audit": {"retention_days": "30", "most": "10", "skipped": "0"},
    "are_tags": {"tags": "'{a}'"},
    "tagged": {"wanted": "'{a}'", "most": "10"},
    "partition_to_add": {"step": "'day'", "days_ahead": "7"},
    "history_partitions": {}, "detached_partitions": {}, "running": {}, "schedule_time": {}, "uuidv7": {},
}  # fmt: skip

_LONG = "repeat('x', 100000)"
_TIMES = ["'infinity'", "'-infinity'", "'294276-01-01'", "'4713-01-01 BC'", "'1960-01-01'", "'9999-12-31 12:00+00'",
    "'2100-01-01'", "now() - interval '10 years'", "now() - interval '30 seconds'", "now() + interval '1 microsecond'",
]  # fmt: skip
_LISTS = ["'{}'", "'{NULL}'", "'[5:6]={a,b}'", "'{{a,b},{c,d}}'"]
# By type. Null is tried for every type.
HOSTILE: dict[str, list[str]] = {
    "uuid": ["'00000000-0000-0000-0000-000000000000'", "gen_random_uuid()"]
    + [f"'{each}'" for each in (WAITING, RUNNING, FAILED, CANCELLED, WORKER, PREVIEW, OPERATION, CHANGE, ENDED)],
    "text": ["''", _LONG, "E'\\n'", "'x'''", "'cli'", "'file'", "'env'", "'stranger'", "'filed'", "'held'", "'busy'",
        f"'{KEY}'", f"'{ENDED_KEY}'", "'hour'", "'null'"],
    "text[]": [*_LISTS, f"ARRAY[{_LONG}]", "array_fill('a'::text, ARRAY[10000])", "'{fired,fired}'", "'{filed}'",
        "'{held}'", "'{admin}'"],
    "jsonb": ["'null'", "'[]'", "'{}'", "'1'", "'\"x\"'", "'[{\"queue\": \"a\"}]'", f"to_jsonb({_LONG})",
        "'{\"run_at\": \"infinity\"}'", "'{\"delay_seconds\": \"NaN\"}'", "'{\"delay_seconds\": 1e300}'",
        "'{\"payload\": []}'", "'{\"tags\": {}}'", "'{\"tags\": [null]}'", "'{\"priority\": \"high\"}'",
        "'{\"queue\": \"A B\"}'", "'{\"max_attempts\": 2147483648}'", f"jsonb_build_object('cron', {_LONG})"],
    "timestamp with time zone": _TIMES,
    "timestamp with time zone[]": ["'{}'", "'{NULL}'", *(f"ARRAY[{each}]::timestamptz[]" for each in _TIMES),
        "array_fill(now(), ARRAY[3000])", f"ARRAY[{_TICK}, {_TICK}]"],
    "interval": ["'0'", "'-1 second'", "'100 years'", "'170000000 years'", "'169 hours'"],
    "double precision": ["'NaN'", "'Infinity'", "'-Infinity'", "-1", "0", "1e9", "1e308"],
    "integer": ["0", "-1", "2147483647", "-2147483648"],
    "integer[]": ["'{}'", "'{NULL}'", "'{2}'", "'{1,1}'", "array_fill(1, ARRAY[3000])"],
    "bigint": ["0", "-1", "9223372036854775807", "-9223372036854775808"],
    "oid": ["0", "'haulier.job'::regclass::oid", "'haulier.finished_job'::regclass::oid", "4294967295"],
    "bytea": ["''", "sha256('bad')", f"convert_to({_LONG}, 'UTF8')"],
    "boolean": ["true", "false"],
    "uuid[]": ["'{}'", "'{NULL}'", f"'{{{{{WAITING}}},{{{RUNNING}}}}}'", "array_fill(gen_random_uuid(), ARRAY[5000])",
        f"'{{{FAILED},{WAITING},{WAITING}}}'"],
}  # fmt: skip
MIXTURES = 40


@dataclass(frozen=True)
class Function:
    """A function of the schema. `arguments` are names with their types."""

    name: str
    arguments: list[tuple[str, str]]

    def call(self, values: list[str]) -> str:
        typed = (f"({value})::{type_}" for value, (_, type_) in zip(values, self.arguments, strict=True))
        return f"SELECT haulier.{self.name}({', '.join(typed)})"

    def calls(self) -> Iterator[str]:
        """Yield the usual call; those with one hostile argument; and some with hostile arguments only."""
        usual = [USUAL[self.name].get(name, "NULL") for name, _ in self.arguments]
        yield self.call(usual)
        hostile = [["NULL", *HOSTILE[type_]] for _, type_ in self.arguments]
        for place, values in enumerate(hostile):
            for value in values:
                yield self.call([*usual[:place], value, *usual[place + 1 :]])
        chance = random.Random(self.name)
        for _ in range(MIXTURES if len(hostile) > 1 else 0):
            yield self.call([chance.choice([*values, normal]) for values, normal in zip(hostile, usual, strict=True)])


def functions_of(conn: Connection) -> list[Function]:
    """Return the functions that can be called at all: not those of triggers, nor with a row as an argument."""
    found = ask(
        conn,
        "SELECT proname::text, coalesce(proargnames[:pronargs], '{}'),"
        " ARRAY(SELECT format_type(type, NULL) FROM unnest(proargtypes) WITH ORDINALITY AS given (type, place)"
        " ORDER BY place) FROM pg_proc WHERE pronamespace = 'haulier'::regnamespace"
        " AND prorettype <> 'trigger'::regtype ORDER BY 1, pronargs",
    )
    return [Function(name, list(zip(names, types, strict=True))) for name, names, types in found]
