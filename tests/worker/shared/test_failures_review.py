"""What a review of the groups of errors found of which groups are told apart."""

from __future__ import annotations

from haulier.domain.fingerprint import fingerprint, other_errors
from haulier.domain.outcome import Outcome
from haulier.worker.shared.failures import HOUR_SECONDS, MOST_GROUPS
from tests.worker.shared.test_failures import clock, failures, job_of  # noqa: F401  # fixtures


def test_texts_that_differ_each_time_hide_no_group_of_the_hour_before(failures, clock):  # noqa: F811
    def group(word: str):
        return failures.failure(job_of("mail"), Outcome.fail_for_good(word)).group

    group("the disk is gone")
    clock.now += HOUR_SECONDS
    for number in range(MOST_GROUPS):
        group("x" * (number + 1))

    assert group("one more") == other_errors("mail")
    assert group("the disk is gone") == fingerprint("mail", "the disk is gone")
