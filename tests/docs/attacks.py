"""`python -m tests.docs.attacks` draws the table of attacks in docs/reliability.md, with the test of each."""

from __future__ import annotations

from dataclasses import dataclass

from lab.chaos.report import PAGE
from lab.page import insert, write


@dataclass(frozen=True)
class Attack:
    """An attack that succeeded once, and the tests that fail if it succeeds again.

    A test is `file::name`, without `tests/` and `test_`; or a file, if all of it is about the attack.
    """

    case: str
    before: str
    now: str
    tests: tuple[str, ...]


ATTACKS = (
    Attack(
        "a trigger or a deferred constraint refuses one of 1,000 jobs on which an operation acts, with any SQLSTATE",
        "the operation ended `failed` after 500 jobs, and failed there again when resumed",
        "each batch isolates the row, for every class of error, at once or at the commit",
        (
            "isolation/batches.py",
            "queue/operations/refused_operations.py::are_done_to_the_others_if_a_deferred_trigger_refuses_one",
        ),
    ),
    Attack(
        "a handler of an isolated kind forks, and its process is killed",
        "the job stayed `running` for ever and held its slot; SIGTERM took 21 s",
        "a job has ended when the kernel says that its process has, within 1 s",
        ("worker/isolation/ends.py::two_jobs_killed_at_once_free_both_slots_and_a_stop_is_quick",),
    ),
    Attack(
        "a handler of an isolated kind starts programs, and exits, is killed, stopped or runs past its timeout",
        "the programs lived on",
        "no process is left, whichever way the job or the worker ends",
        (
            "worker/isolation/ends.py::each_end_of_a_job_frees_its_slot_and_leaves_no_process",
            "worker/isolation/ends.py::each_end_of_a_worker_leaves_no_process_of_its_jobs",
        ),
    ),
    Attack(
        "a trigger refuses 3 % of the jobs of 8,000 schedules that fire each minute",
        "3,109 of 7,761 healthy ticks became `skipped_missed` in the first minute",
        "healthy ticks fire; refused ones are tried again after 5 to 300 s, and end as `skipped_refused`",
        ("queue/schedules/refused_schedules.py", "worker/threads/schedules.py"),
    ),
    Attack(
        "a trigger or a constraint refuses a job that a request makes or changes",
        "500 `internal`",
        "422 `refused_by_database` with the reason",
        ("api/jobs/refused_by_database.py", "web/jobs/acts.py::does_it_to_the_other_jobs_that_were_ticked"),
    ),
    Attack(
        "one job beside 1,000 queues that are paused, or whose kinds are put off",
        "started after 66 ms, at most 1,052 ms; without them after 7 ms",
        "a new job is looked for before any longer scan, beside any number of queues",
        ("worker/many_lanes.py",),
    ),
    Attack(
        "the clock jumps ten days ahead and back, and a schedule is deleted and made again",
        "it fired nothing for ten days; explain said `not_due`",
        "a schedule that is made again is a new one",
        ("queue/schedules/schedules_made_again.py",),
    ),
    Attack(
        "the disk is full, or a table is locked, for 45 s while an operation runs",
        "the operation ended `failed`",
        "it waits and goes on",
        (
            "queue/operations/refused_operations.py::wait_for_what_passes_and_do_not_count_it_as_a_failure",
            "queue/operations/refused_operations.py::wait_while_somebody_holds_a_lock_on_a_table",
        ),
    ),
    Attack(
        "a key of one queue starts 99 operations for tomorrow; a waiting one is locked; a key is revoked",
        "nobody else could start one; all others stood still; its operations ran all the same",
        "20 open ones per key; the locked one is passed over; revoking the key ends them",
        (
            "queue/operations/refused_operations.py::of_one_api_key_leave_room_for_those_of_others",
            "queue/operations/refused_operations.py::pass_over_one_whose_row_somebody_has_locked",
            "queue/operations/refused_operations.py::of_an_api_key_end_when_it_is_revoked",
        ),
    ),
    Attack(
        "a database in SQL_ASCII or LATIN1",
        "one payload made lists, previews and operations fail; or refused by accident",
        "refused with a sentence by `migrate` and by every process",
        ("queue/upkeep/migrate.py::is_refused_by_migrate_and_by_every_process",),
    ),
    Attack(
        "an orphan with a payload of 200 MB",
        "`running` for ever; the log said that the database is away, and not which job",
        "named, and ended without its payload",
        ("worker/steps/rescue.py::ends_a_job_without_its_payload_after_long_failure_to_move",),
    ),
    Attack(
        "the disk is full",
        "`GET /health` was 200 while each POST was 503",
        "503, as `/health` inserts a job and rolls it back",
        ("api/service/health.py::is_unwell_while_the_disk_is_full_as_every_enqueue_is",),
    ),
    Attack(
        "two operations that overlap",
        "1,176 of 5,000 jobs were skipped, without a warning",
        "the preview names the open operations of the same jobs",
        ("api/operators/operations_calls.py::a_preview_names_open_operations_that_may_act_on_the_same_jobs",),
    ),
    Attack(
        "a preview of the jobs of a rare tag",
        "said 0 while 4,200 matched",
        "counted by the index of tags",
        ("queue/operations/operations.py::a_preview_counts_old_jobs_of_a_rare_tag",),
    ),
    Attack(
        "an operation changes a waiting job, and somebody cancels it",
        "its timeline forgot the operation",
        "every column survives every act",
        ("queue/every_column.py",),
    ),
    Attack(
        "a path with an empty segment, such as `//ui/jobs/ID/cancel`",
        "went past the dashboard's sign-in: other sites' forms acted, with `AUTH=off` without any key",
        "404, before anything looks at the path",
        ("web/access/forms.py::answers_404_to_every_path_with_an_empty_segment",),
    ),
    Attack(
        "24 previews of 120,000 jobs, or 24 searches of 100,000 groups of errors, at once by one caller",
        "another caller's POST took 100 and 153 times as long (p99)",
        "slow requests are limited per caller, wherever they come in",
        (
            "web/access/guards.py::refuses_a_slow_request_beside_as_many_as_the_caller_may_have",
            "http/limits.py::leaves_places_to_other_callers_and_a_thread_to_quick_requests",
        ),
    ),
    Attack(
        "a key of one request a second posts forms of the dashboard",
        "100 jobs in 3.9 s",
        "one rate for the API, the dashboard and the sign-in",
        ("web/access/guards.py::takes_one_rate_for_the_api_the_dashboard_and_the_sign_in",),
    ),
    Attack(
        "three who have no key sign in 741 times in 7.5 s",
        "a good key signed in 5 of 25 times",
        "25 of 25 times: good keys are looked up first, and failures are charged to their address",
        (
            "web/access/sessions.py::is_opened_by_a_good_key_each_time_while_others_try_wrong_ones",
            "http/limits.py::lets_an_address_fail_again_as_time_goes_by",
        ),
    ),
    Attack(
        "eight scrape `/metrics` at once",
        "another caller's POST took 17 times as long (p99)",
        "collected once in 2 s, for all who ask",
        ("api/service/metrics_call.py::it_is_collected_once_for_all_who_ask_within_seconds",),
    ),
    Attack(
        "another site's page sends a POST without a body, where no key is needed",
        "a queue was paused",
        "403, for every act",
        ("web/access/guards.py::refuses_another_sites_page_with_a_session_or_without_keys",),
    ),
    Attack(
        "roles of the API and of workers call the owner's functions with values of their own",
        "ticks of a paused schedule fired; a session for any key's hash, for 100 years; any actor on record",
        "each function checks its bounds; what is left is listed in [database.md](database.md)",
        ("schema/bounds.py", "schema/hostile_calls.py", "schema/rights.py"),
    ),
    Attack(
        "made-up keys at 50 a second",
        "new keys got 429",
        "new keys are good meanwhile",
        ("http/keyring.py::fresh_keys_are_good_while_others_guess",),
    ),
    Attack(
        "a handler of an isolated kind reads `/proc/PPID/environ`",
        "promised as isolation",
        "no boundary for hostile code, and [the page](kinds.md#a-kind-in-a-process-of-its-own) says so",
        (),
    ),
    Attack(
        "a service that answers the command line with what no service says",
        "tracebacks, and lists without end",
        "each command ends with one line",
        ("command_line/hostile_servers.py",),
    ),
    Attack(
        "a dotted key of 100 KB in schedules.toml",
        "over 60 s",
        "refused with its line",
        ("schedules_toml.py::says_in_a_line_that_it_is_no_such_file",),
    ),
    Attack(
        "three who send wrong batches of 16 MiB",
        "425 MB, which stayed",
        "given back",
        ("http/gunicorn/memory.py::wrong_batches_of_the_greatest_length_are_not_kept",),
    ),
    Attack(
        "HTTP/0.9, or a line of 70 KB, at the port of a worker's metrics",
        "closed without an answer",
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
    """Return the table: each attack, what happened before, what happens now, and where that is tested."""
    lines = ["| attack | before | now | tests |", "|---|---|---|---|"]
    for attack in ATTACKS:
        files = dict.fromkeys(f"`{path_of(test)[0]}`" for test in attack.tests)
        lines.append(f"| {attack.case} | {attack.before} | {attack.now} | {', '.join(files) or '–'} |")
    return "\n".join(lines)


def draw() -> None:
    """Write the table into the page."""
    write(PAGE, insert(PAGE.read_text(encoding="utf-8"), "attacks", table()))


if __name__ == "__main__":
    draw()
