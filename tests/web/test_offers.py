"""Every page that links lead to, as each sort of viewer sees it: it ..."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from psycopg2.extensions import connection as Connection

from app.http.door import refusal
from app.http.routes import Route, routes_of
from haulier.domain.api_key import ApiKey, Scope
from haulier.domain.operation import OperationAction
from haulier.queue import consume
from haulier.queue.produce import operations as ops
from haulier.queue.produce.job_filter import JobFilter
from haulier.queue.produce.operations import Order
from tests.queue.schedules import plant
from tests.web.browsing import Browser, Element, faults, read
from tests.web.conftest import MakeSite, SignedIn
from tests.web.jobs import counted, in_all_states

VIEWERS: dict[str, tuple[tuple[Scope, ...], list[str] | None]] = {
    "admin": ((Scope.ADMIN,), None),
    "read": ((Scope.READ,), None),
    "operate": ((Scope.READ, Scope.OPERATE), None),
    "enqueue": ((Scope.READ, Scope.ENQUEUE), None),
    "one queue": ((Scope.ADMIN,), ["mail"]),
    "operate alone": ((Scope.OPERATE,), None),
}
MOST_PAGES = 150


@pytest.mark.parametrize("name", VIEWERS)
def test_leads_nowhere_and_offers_nothing_that_is_refused(
    signed_in: SignedIn, site: Flask, conn: Connection, sql, name: str
) -> None:
    fill(conn, sql)
    scopes, queues = VIEWERS[name]
    browser = signed_in(*scopes, queues=queues)
    offers = Offers(site, browser.key)

    pages = dict(walk(browser))
    refused = {each for page in pages.values() for each in offers.of(page) if offers.is_refused(*each)}

    assert len(pages) > (15 if Scope.OPERATE not in scopes[:1] else 5)
    assert any(path.startswith("/ui/operations/") for path in pages) == (name not in ("read", "enqueue"))
    assert refused == set()


@pytest.mark.parametrize("workers_live", [True, False])
def test_offers_no_act_where_it_is_for_reading(
    make_site: MakeSite, signed_in: SignedIn, conn: Connection, sql, workers_live: bool
) -> None:
    fill(conn, sql)
    if not workers_live:
        # Then whoever watches an operation works it off.
        sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")
    app = make_site(dashboard="read")
    browser = signed_in(Scope.ADMIN, app=app)
    offers = Offers(app, browser.key)

    acts = {each for page in dict(walk(browser)).values() for each in offers.of(page) if each[0] == "POST"}

    assert {path for _, path in acts if isinstance(offers.route("POST", path).needs, Scope)} == set()
    assert {path for _, path in acts} == {"/ui/settings", "/ui/settings/theme", "/ui/sign-out"}


def fill(conn: Connection, sql) -> None:
    """Have something of everything that pages show."""
    in_all_states(conn)
    plant(sql, "nightly", every_seconds=3600)
    consume.register(conn, host="dock", pid=9, threads=4, queues=(), lease_seconds=30)
    order = Order(OperationAction.CANCEL, JobFilter(kinds=["send_email"]), queues=["mail"])
    ops.start(conn, order, as_of=None, actor="ops-anna")
    counted(conn)


def walk(browser: Browser) -> Iterator[tuple[str, Element]]:
    """Yield every page to which links lead from the first one, each with some query of its fields."""
    first = browser.get("/ui").headers.get("Location", "/ui")
    seen, left = {first}, [first]
    while left:
        path = left.pop(0)
        answer = browser.get(path)
        assert answer.status_code == 200, path
        page = read(answer.text)
        assert faults(page) == [], path
        yield path, page
        for link in links(page):
            shape = shape_of(link)
            if shape not in seen and len(seen) < MOST_PAGES:
                seen.add(shape)
                left.append(link)


def links(page: Element) -> list[str]:
    found = [each.given.get("href", "").partition("#")[0] for each in page.all("a")]
    return [each for each in found if each.startswith("/ui") and ".csv" not in each]


def shape_of(link: str) -> str:
    """Return the path and the names of its parameters: pages that differ in the values alone are like each other."""
    path, _, query = link.partition("?")
    return f"{path}?{'&'.join(sorted({each.partition('=')[0] for each in query.split('&')}))}" if query else path


class Offers:
    """What pages offer to whoever has a key, and what of it would be refused."""

    def __init__(self, app: Flask, key: ApiKey | None) -> None:
        self._urls, self._routes, self._key = app.url_map.bind("localhost"), routes_of(app), key

    def of(self, page: Element) -> set[tuple[str, str]]:
        """Return the method and the path of each form and each button."""
        found = {(each.given.get("method", "get").upper(), each.given["action"]) for each in page.all("form")}
        return found | {("POST", each.given["formaction"]) for each in page.all("button") if "formaction" in each.given}

    def route(self, method: str, path: str) -> Route:
        """Return what the view behind it states."""
        rule, _ = self._urls.match(path, method, return_rule=True)
        return self._routes[method, rule.rule]

    def is_refused(self, method: str, path: str) -> bool:
        """Tell whether the server would refuse it."""
        return self._key is not None and refusal(self._key, self.route(method, path)) is not None
