"""The list of jobs: its filters, columns, orders, totals and form. It ..."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlencode

from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue import jobs as job_acts
from haulier.queue.numbers import counts
from haulier.queue.queues.pauses import pause
from tests.web.browsing import Browser, Element, SignedIn, check_each
from tests.web.jobs import claim, counted, enqueue, fail, in_all_states, register

LIST = "/ui/jobs"
WAITING = "status=queued&status=retrying"


def ids(page: Element) -> list[str]:
    return list(page.rows())


def chips(page: Element) -> list[Element]:
    """Return the filters that hold, each of which can be removed."""
    return [each for each in page.all("a", class_="chip") if "remove this filter" in each.text]


def foot(page: Element) -> str:
    return page.all("footer")[-1].text


def test_goes_forward_and_back_through_all_jobs_each_once(browser: Browser, conn: Connection) -> None:
    jobs = [str(enqueue(conn)) for _ in range(60)]

    forward = list(browser.through(f"{LIST}?limit=25&kind=send_email"))
    back, path = [], forward[-2].one("a", rel="next").attrs["href"]
    while path:
        page = browser.page(path)
        back.append(ids(page))
        path = next((each.attrs["href"] for each in page.all("a", rel="prev")), "")

    assert [len(ids(page)) for page in forward] == [25, 25, 10]
    assert sum((ids(page) for page in forward), []) == jobs[::-1]
    assert back == [ids(page) for page in forward][::-1]


def test_shows_the_jobs_that_match_a_filter(browser: Browser, conn: Connection) -> None:
    jobs = in_all_states(conn)

    def statuses(query: str) -> set[str]:
        shown = ids(browser.page(f"{LIST}?{query}"))
        return {status for status, job in jobs.items() if str(job) in shown}

    check_each(
        statuses,
        ("status=failed", {"failed_permanent"}),
        ("status=queued&status=running", {"queued", "running"}),
        ("queue=mail", {"queued"}),
        ("tag=night&status=retrying", {"retrying"}),
        ("key=key-running", {"running"}),
        ("after=1h", set(jobs)),
        ("before=1h", set()),
        ("payload.to=a@b.c&status=queued", {"queued"}),
        ("kind=nothing", set()),
    )


def test_marks_a_filter_or_an_order_that_it_does_not_understand(browser: Browser) -> None:
    def marked(query: str, why: str = "") -> list[str]:
        odd = [each for each in chips(browser.page(f"{LIST}?{query}")) if each.all("span", class_="failed")]
        return [each.attrs["href"] for each in odd if why in each.text]

    odd = ("status=odd", "queue=No", "error=x", "after=soon", "worker=x", "key=%C3%BC")
    check_each(
        marked,
        *[(query, [LIST]) for query in odd],
        ("sort=due", "one queue", [LIST]),
        ("status=queued&queue=mail&sort=due", "one queue", [f"{LIST}?status=queued&queue=mail"]),
        (f"{WAITING}&queue=mail&tag=x&sort=due", "one queue", [f"{LIST}?{WAITING}&queue=mail&tag=x"]),
        ("status=queued&sort=started", "running", [f"{LIST}?status=queued"]),
        ("status=running&tag=x&sort=started", "running", [f"{LIST}?status=running&tag=x"]),
        ("status=running&sort=nonsense", "no such order", [f"{LIST}?status=running"]),
    )


def test_marks_a_queue_or_kind_that_nobody_uses_if_the_list_is_empty(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    enqueue(conn, queue="mail")
    enqueue(conn, queue="mail", kind="strange")
    job_acts.cancel(conn, enqueue(conn, queue="past"))
    sql("DELETE FROM haulier.queue")
    pause(conn, "idle", until=None, actor=None)
    # As of a queue that the key may not see.
    own = signed_in(Scope.READ, queues=["salmon"])

    def marked(query: str, by: Browser = browser) -> list[str]:
        return [each.text for chip in chips(by.page(f"{LIST}?{query}")) for each in chip.all("span", class_="failed")]

    check_each(
        marked,
        ("queue=absent", ["no such queue"]),
        ("queue=idle", own, ["no such queue"]),
        ("kind=absent", ["no such kind"]),
        ("queue=absent&kind=absent&status=failed", ["no such kind", "no such queue"]),
        ("queue=idle", []),
        ("queue=past&status=queued", []),
        ("kind=send_email&status=failed&queue=mail", []),
        ("kind=strange&status=failed&queue=mail&queue=absent", []),
    )


def test_names_a_filter_by_the_text_of_its_error_and_the_name_of_its_worker(
    browser: Browser, signed_in: SignedIn, conn: Connection
) -> None:
    group, worker = fail(conn, "PaymentGatewayError: no answer", queue="mail"), register(conn, "mail")
    own, foreign = (signed_in(Scope.READ, queues=[queue]) for queue in ("mail", "salmon"))

    def named(query: str, by: Browser) -> list[str]:
        return [each.one("b").text for each in chips(by.page(f"{LIST}?{query}"))]

    check_each(
        named,
        (f"error={group}", browser, ["PaymentGatewayError: no answer"]),
        (f"error={group}&status=failed", own, ["PaymentGatewayError: no answer"]),
        (f"error={group}", foreign, [group]),
        ("error=0123456789abcdef", browser, ["0123456789abcdef"]),
        (f"worker={worker}", browser, ["dock:7"]),
    )


def test_looks_for_a_value_at_a_place_of_the_payload(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn, {"to": "x@b.c", "subject": "Hi", "body": "Hello."})
    enqueue(conn)

    page = browser.page(f"{LIST}?{urlencode({'path': 'to', 'value': 'x@b.c', 'kind': 'send_email'})}")
    half = browser.page(f"{LIST}?path=to&value=")

    assert ids(page) == [str(job)]
    [chip] = [each for each in chips(page) if "payload.to" in each.text]
    assert chip.attrs["href"] == f"{LIST}?kind=send_email"
    assert "needs a field and a value" in half.text
    assert half.all("input", name="all") == []


def test_says_on_which_worker_and_until_when_a_job_runs(browser: Browser, conn: Connection, sql) -> None:
    timed, endless = str(enqueue(conn, timeout_seconds=90)), str(enqueue(conn, kind="unknown"))
    for _ in range(2):
        claim(conn)

    rows = browser.page(f"{LIST}?status=running").rows()
    sql("DELETE FROM haulier.worker")
    browser.forget()
    dead = browser.page(f"{LIST}?status=running").rows()

    assert rows[timed].cells()["worker"] == "dock:7"
    assert rows[timed].cells()["times out"].startswith("in ")
    assert rows[endless].cells()["times out"] == "never"
    assert dead[timed].cells()["worker"] == "–"


def tabs(page: Element) -> dict[str, str]:
    return {each.text: each.attrs["href"] for found in page.all("nav", class_="tabs") for each in found.all("a")}


def test_shows_the_next_jobs_of_a_queue_first(browser: Browser, conn: Connection) -> None:
    low, later = enqueue(conn, queue="mail"), enqueue(conn, queue="mail", priority=9, delay=timedelta(hours=1))
    high, _ = enqueue(conn, queue="mail", priority=5), enqueue(conn, queue="other")

    offered = tabs(browser.page(f"{LIST}?status=queued&queue=mail"))["Next to run first"]
    page, few = browser.page(offered), browser.page(f"{offered}&limit=25")

    assert ids(page) == ids(few) == [str(high), str(low), str(later)]
    assert offered == f"{LIST}?{WAITING}&queue=mail&sort=due"
    assert tabs(page)["Newest first"] == f"{LIST}?{WAITING}&queue=mail"
    assert "run alone and are not listed here" in page.text
    assert page.all("a", rel="next") == []


def test_shows_the_next_jobs_of_a_queue_if_newer_ones_of_others_hide_them(
    browser: Browser, conn: Connection, monkeypatch
) -> None:
    jobs = [str(enqueue(conn, queue="mail")) for _ in range(3)]
    for _ in range(60):
        enqueue(conn, queue="other")
    for name, value in (("FIRST_ROWS", 5), ("LOOK_SECONDS", -1.0)):
        monkeypatch.setattr(f"haulier.queue.search.bounded_scan.{name}", value)
    counted(conn)

    check_each(
        lambda query: ids(browser.page(f"{LIST}?{query}&limit=25")),
        (f"queue=mail&{WAITING}", jobs),
        ("queue=mail&status=queued", jobs),
        ("queue=mail", jobs),
        ("queue=mail&tag=x", []),
        ("queue=absent", []),
    )
    page = browser.page(f"{LIST}?queue=mail&{WAITING}&limit=25")
    assert "newer jobs of other queues" in page.text
    assert "No match" not in page.text
    assert foot(page).startswith("3 shown Newer")
    # Who wants the newest can search on.
    [older] = page.links("search further back")
    assert ids(browser.page(older)) == []


def test_says_how_many_live_jobs_have_each_status(browser: Browser, signed_in: SignedIn, conn: Connection) -> None:
    in_all_states(conn)
    own = signed_in(Scope.READ, queues=["running"])

    def told(query: str = "", by: Browser = browser) -> list[str]:
        return [each.text for each in by.page(f"{LIST}{query}").all("a", class_="chip")][:4]

    before = told()
    enqueue(conn, queue="mail")
    counted(conn)
    browser.forget()

    assert before[:3] == ["All", "Queued", "Running"]
    assert told("?limit=100") == ["All", "Queued 2", "Running 1", "Retrying 1"]
    assert told("?queue=mail&kind=send_email&status=running") == ["All", "Queued 2", "Running 0", "Retrying 0"]
    assert told("?tag=night")[:3] == ["All", "Queued", "Running"]
    assert told("", own) == ["All", "Queued 0", "Running 1", "Retrying 0"]


def test_says_how_many_jobs_have_ended_in_each_way(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql, monkeypatch
) -> None:
    counts.counting_ends_in(conn)
    sql(
        "UPDATE haulier.counting SET (through, folded, recounted) = (SELECT at, at, at FROM (SELECT now() - interval"
        " '2 minutes' AS at) AS begin)"
    )
    in_all_states(conn)
    sql("UPDATE haulier.finished_job SET finished_at = finished_at - interval '1 minute'")
    group = fail(conn, "no luck", queue="mail", times=3)
    counted(conn)
    own = signed_in(Scope.READ, queues=["succeeded", "mail"])

    def told(query: str = "", by: Browser = browser) -> list[str]:
        return [each.text for each in by.page(f"{LIST}{query}").all("a", class_="chip")][4:7]

    check_each(
        told,
        ("", ["Succeeded ≈ 1", "Failed 4", "Cancelled 1"]),
        ("?queue=mail&status=failed", ["Succeeded ≈ 0", "Failed 3", "Cancelled 0"]),
        ("?tag=night&status=failed", ["Succeeded", "Failed 1", "Cancelled"]),
        ("", own, ["Succeeded ≈ 1", "Failed 3", "Cancelled 0"]),
        (f"?error={group}", ["Succeeded", "Failed 4", "Cancelled"]),
        (f"?error={group}", own, ["Succeeded", "Failed 3", "Cancelled"]),
    )
    # One statement looks at few of the jobs, and a worker has not counted for long.
    monkeypatch.setattr("haulier.queue.search.job_list.FIRST_ROWS", 2)
    sql("UPDATE haulier.counting SET through = through - interval '1 hour'")
    browser.forget()
    assert told() == ["Succeeded", "Failed 2+", "Cancelled"]


def test_says_how_many_failed_jobs_there_are_in_all(
    browser: Browser, signed_in: SignedIn, conn: Connection, monkeypatch
) -> None:
    fail(conn, "no luck", queue="mail", times=26)
    own = signed_in(Scope.READ, queues=["mail"])
    fail(conn, "no luck", queue="salmon", times=3)

    page, ours = (each.page(f"{LIST}?status=failed&limit=25") for each in (browser, own))

    assert foot(page).startswith("25 of 29 shown ")
    assert "Select all 29 that match" in page.text
    assert foot(ours).startswith("25 of 26 shown ")
    assert foot(browser.page(f"{LIST}?limit=25")).startswith("25 shown, more follow")
    assert foot(browser.page(f"{LIST}?status=failed")).startswith("29 shown Newer")
    for name, value in (("FIRST_ROWS", 10), ("LOOK_SECONDS", 0.0)):
        monkeypatch.setattr(f"haulier.queue.search.bounded_scan.{name}", value)
    browser.forget()
    assert foot(browser.page(f"{LIST}?status=failed&limit=25")).startswith("25 of 25+ shown ")


def test_says_of_no_fewer_live_jobs_than_it_shows(browser: Browser, conn: Connection) -> None:
    for _ in range(12):
        enqueue(conn)
    counted(conn)
    for _ in range(40):
        enqueue(conn)

    pages = list(browser.through(f"{LIST}?status=queued&limit=25"))
    counted(conn)
    browser.forget()

    expected = ["25 of 25+ shown", "25 of 50+ shown", "2 shown"]
    assert [foot(page).partition(" Newer")[0] for page in pages] == expected
    assert "All 25+ that match" in pages[0].text
    assert foot(browser.page(f"{LIST}?status=queued&limit=25")).startswith("25 of 52 shown ")


def test_says_how_many_it_found_as_far_as_it_looked_back(browser: Browser, conn: Connection, monkeypatch) -> None:
    monkeypatch.setattr("haulier.queue.search.bounded_scan.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("haulier.queue.search.bounded_scan.FIRST_PAYLOADS", 1)
    for _ in range(2):
        enqueue(conn)

    page = browser.page(f"{LIST}?payload.to=a@b.c")

    assert "1 match." in page.text
    assert len(page.links("Search further back")) == 1
