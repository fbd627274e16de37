"""`python -m tests.docs.attacks` draws the table of attacks in docs/reliability.md, and has the tests of each."""

from __future__ import annotations

from lab.chaos.report import PAGE
from lab.page import insert, write

# Attacks that succeeded once: the case, what happens now, and the tests that fail if one succeeds again. A test is
# `file::name`, without `tests/` and `test_`; or a file, if all of it is about the attack.
ATTACKS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "a trigger refuses one of 1,000 jobs of an operation",
        "the other 999 are done",
        (
            "isolation/batches.py",
            "queue/operations/refused_operations.py::are_done_to_the_others_if_a_deferred_trigger_refuses_one",
        ),
    ),
    (
        "an isolated handler forks and is killed",
        "ends within 1 s",
        ("worker/isolation/ends.py::two_jobs_killed_at_once_free_both_slots_and_a_stop_is_quick",),
    ),
    (
        "an isolated handler starts programs and ends",
        "no process is left",
        (
            "worker/isolation/ends.py::each_end_of_a_job_frees_its_slot_and_leaves_no_process",
            "worker/isolation/ends.py::each_end_of_a_worker_leaves_no_process_of_its_jobs",
        ),
    ),
    (
        "a trigger refuses the jobs of 3 % of 8,000 schedules",
        "all fire; the refused end `skipped_refused`",
        ("queue/schedules/refused_schedules.py", "worker/threads/schedules.py"),
    ),
    (
        "a trigger refuses a request's job",
        "422 with the reason",
        ("api/jobs/refused_by_database.py", "web/jobs/acts.py::does_it_to_the_other_jobs_that_were_ticked"),
    ),
    (
        "a job beside 1,000 paused queues",
        "starts at once: new jobs are looked for first",
        ("worker/many_lanes.py",),
    ),
    (
        "clock ten days ahead and back, then a schedule recreated",
        "fires as a new schedule",
        ("queue/schedules/schedules_made_again.py",),
    ),
    (
        "full disk or lock for 45 s during an operation",
        "it waits and continues",
        (
            "queue/operations/refused_operations.py::wait_for_what_passes_and_do_not_count_it_as_a_failure",
            "queue/operations/refused_operations.py::wait_while_somebody_holds_a_lock_on_a_table",
        ),
    ),
    (
        "a key starts 99 operations for tomorrow, and is revoked",
        "at most 20 per key; revoking ends them",
        (
            "queue/operations/refused_operations.py::of_one_api_key_leave_room_for_those_of_others",
            "queue/operations/refused_operations.py::pass_over_one_whose_row_somebody_has_locked",
            "queue/operations/refused_operations.py::of_an_api_key_end_when_it_is_revoked",
        ),
    ),
    (
        "a database in SQL_ASCII or LATIN1",
        "refused by `migrate` and every process",
        ("queue/upkeep/migrate.py::is_refused_by_migrate_and_by_every_process",),
    ),
    (
        "a job of 200 MB whose worker died",
        "ends without its input, and is named in the log",
        ("worker/steps/rescue.py::ends_a_job_without_its_payload_after_long_failure_to_move",),
    ),
    (
        "a host is cut off while it receives a claim of some MB",
        "other workers have the jobs after 5 s",
        ("hosts/cut_off.py::are_not_locked_by_a_claim_whose_answer_finds_nobody",),
    ),
    (
        "the disk is full",
        "503, because it tries an insert",
        ("api/service/health.py::is_unwell_while_the_disk_is_full_as_every_enqueue_is",),
    ),
    (
        "two operations that overlap",
        "the preview names the other",
        ("api/operators/operations_calls.py::a_preview_names_open_operations_that_may_act_on_the_same_jobs",),
    ),
    (
        "preview of a rare tag",
        "counts all that match, by index",
        ("queue/operations/operations.py::a_preview_counts_old_jobs_of_a_rare_tag",),
    ),
    (
        "an operation changes a job that is then cancelled",
        "its timeline names the operation",
        ("queue/every_column.py",),
    ),
    (
        "a path like `//ui/jobs/ID/cancel`",
        "404",
        ("web/access/forms.py::answers_404_to_every_path_with_an_empty_segment",),
    ),
    (
        "24 previews of 120,000 jobs at once",
        "limited per caller: others' POSTs take [twice as long](benchmarks.md#busy-callers)",
        (
            "web/access/guards.py::refuses_a_slow_request_beside_as_many_as_the_caller_may_have",
            "http/limits.py::leaves_places_to_other_callers_and_a_thread_to_quick_requests",
        ),
    ),
    (
        "a key of one request a second posts forms",
        "one rate for API and dashboard",
        ("web/access/guards.py::takes_one_rate_for_the_api_the_dashboard_and_the_sign_in",),
    ),
    (
        "741 sign-ins without a key in 7.5 s",
        "good keys sign in 25 of 25 times",
        (
            "web/access/sessions.py::is_opened_by_a_good_key_each_time_while_others_try_wrong_ones",
            "http/limits.py::lets_an_address_fail_again_as_time_goes_by",
        ),
    ),
    (
        "eight scrapers of `/metrics`",
        "collected once in 2 s for all",
        ("api/service/metrics_call.py::it_is_collected_once_for_all_who_ask_within_seconds",),
    ),
    (
        "another site's page POSTs, no key needed",
        "403",
        ("web/access/guards.py::refuses_another_sites_page_with_a_session_or_without_keys",),
    ),
    (
        "database roles call the owner's functions with made-up values",
        "[bounds are checked](database.md)",
        ("schema/bounds.py", "schema/hostile_calls.py", "schema/rights.py"),
    ),
    (
        "made-up keys at 50 a second",
        "new keys work",
        ("http/keyring.py::fresh_keys_are_good_while_others_guess",),
    ),
    (
        "an isolated handler reads `/proc/PPID/environ`",
        "it can: [no boundary](kinds.md#a-kind-in-a-process-of-its-own) for hostile code",
        (),
    ),
    (
        "a hostile service answers the command line",
        "one line",
        ("command_line/hostile_servers.py",),
    ),
    (
        "a dotted key of 100 KB in schedules.toml",
        "refused, naming the line",
        ("schedules_toml.py::says_in_a_line_that_it_is_no_such_file",),
    ),
    (
        "three send bad batches of 16 MiB",
        "their memory is freed",
        ("http/gunicorn/memory.py::wrong_batches_of_the_greatest_length_are_not_kept",),
    ),
    (
        "HTTP/0.9 at a worker's metrics port",
        "answered",
        ("worker/metrics/port.py::answers_each_request_that_is_no_http_1",),
    ),
)


def path_of(test: str) -> tuple[str, str]:
    """Return the test's file, and its name: empty if the whole file is meant."""
    file, _, name = test.partition("::")
    folder, _, file = f"tests/{file}".rpartition("/")
    return f"{folder}/test_{file}", name and f"test_{name}"


def table() -> str:
    """Return the table: each attack, and what happens now."""
    lines = ["| attack | now |", "|---|---|"]
    lines += [f"| {case} | {now} |" for case, now, _ in ATTACKS]
    return "\n".join(lines)


def draw() -> None:
    """Write the table into the page."""
    write(PAGE, insert(PAGE.read_text(encoding="utf-8"), "attacks", table()))


if __name__ == "__main__":
    draw()
