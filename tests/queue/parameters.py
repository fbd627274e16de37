"""What each statement of the .sql files may be sent with."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from haulier.postgres.sql_files import SQL

NOW, ID = datetime.now(UTC), uuid4()

# A value of each type, by the names of the parameters that take it.
BY_TYPE: dict[str, Any] = {
    """
    after_at as_of at_after at_before before begun_at came_before come_to count_from count_to counts_from
    created_after created_before day_after ended_from ended_to finished_after finished_before first_day folded
    look_at next_at recounted run_at since span_from span_to through until upto
    """: NOW,
    """
    after_id before_id begun_id by_whom claim come_to_id counter first_id id job last_id only operation worker
    """: ID,
    """
    after_entry after_error after_priority age apart asked attempt attempts_min before_schedule cell count days_ahead
    done drawn error_id failed free idempotency_days in_all kept_errors kept_ticks limit
    live_pause longer longer_seconds matched max_attempts max_snoozes most
    most_bytes most_depths most_pages most_pairs most_queues most_rows most_seconds most_sessions most_tagged moved_to
    newest other_cell per_key pid place preview_days priority retention_days rows sample schema_version series_seconds
    skipped source span_seconds spread step_seconds threads timeout_seconds unmet unused
    """: 7,
    """
    again asleep due_for idle late lately lease longest look measure patience rate rate_limit slot soon
    starts_in took
    """: 0.5,
    """
    counts_jobs is_begun is_idle is_late is_muted is_new is_over is_part_enough is_quiet is_walked is_whole may_pass
    most_first only_whole scans_fail since_change suspect
    """: True,
    """
    action actor after_kind after_name after_queue after_record before_key before_record bound
    confirmed_link given_back host idempotency_key key_id kind link matched_is name only_name queue
    reason release scope scoped_key sight target text version worker_name
    """: "mail",
    "changes details filter noted payload rule shown_filter vitals whole": "{}",
    "fingerprint hash key_hash seen": b"x" * 32,
    "delay lifetime overlap": timedelta(days=1),
    "claims failed_jobs ids later mark_ids over_claims over_ids passed_over taken workers": [ID, uuid4()],
    "ats decided_tos looks lowers marks nexts pendings uppers": [NOW, None],
    "attempts decisions error_ids failed_ids group_ids group_places of_decisions places priorities sizes": [7, 8],
    "backoffs delays dones seconds_ago totals": [0.5, None],
    """
    acts busy errors failed_queues group_examples group_kinds group_texts keys kinds masked_kinds names notes
    outcomes pairs paths queues reasons rules scopes statuses tags texts things verbs
    """: ["mail", None],
}
PARAMETERS: dict[str, Any] = {
    **{name: value for names, value in BY_TYPE.items() for name in names.split()},
    "alone": [True, False],
    "cells": [7, None],
    "results": ["1", None],
    "fingerprints": [b"x", b"y"],
    **dict.fromkeys(("milliseconds", "lock_milliseconds", "idle_milliseconds"), 5000),
    "least_id": UUID(int=0),
    "process": "web",
    "last_values": [7, 8],
    "offset": 0,
    "pids": [7],
    "position": "0/0",
    "step": "day",
    "table": 1259,
    "tables": [1259, 1260],
}
OPTIONAL = """
    actor acts after_at after_entry after_error after_id at_after at_before attempts_min before_id before_key
    begun_at begun_id come_to come_to_id created_after created_before day_after details ended_from ended_to
    error_id finished_after finished_before first_day idempotency_key is_muted job kind kinds lifetime noted
    moved_to only operation paths queue queues rate_limit reason scope seen since statuses tags target text until vitals
    worker worker_name workers
"""
ABSENT = OPTIONAL.split()

EXPLAINABLE = [name for name, text in SQL.items() if re.match(r"(SELECT|INSERT|UPDATE|DELETE|WITH)\b", text)]


def wanted_by(name: str) -> set[str]:
    return set(re.findall(r"%\((\w+)\)s", SQL[name]))
