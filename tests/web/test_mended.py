"""What needed attention until somebody saw to it: it ..."""

from __future__ import annotations

from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Failure
from haulier.domain.fingerprint import fingerprint
from haulier.domain.outcome import Outcome
from haulier.queue import produce
from tests.web.browsing import Browser
from tests.web.jobs import claim, end, enqueue


def test_says_that_an_error_is_new_until_its_jobs_were_tried_again(browser: Browser, conn: Connection) -> None:
    failure = Failure(fingerprint("send_email", "no luck"), "default", "no luck")
    for _ in range(10):
        enqueue(conn)
        _, [fence] = claim(conn)
        end(conn, fence, Outcome.fail_for_good("no luck"), failure)
    jobs = produce.list_jobs(conn, produce.JobFilter()).jobs

    said = []
    for job in jobs:
        said.append(browser.page("/ui").text)
        browser.send(browser.page(f"/ui/jobs/{job.id}"), f"/ui/jobs/{job.id}/retry")

    assert [text for text in said if "send_email fails with a new error: 10 times for good" not in text] == []
    assert "fails with a new error" not in browser.page("/ui").text
