"""What others write into jobs, keys and errors, on every page that shows it: it ..."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from psycopg2.extensions import connection as Connection

from app.web.kit.static_files import FOLDER
from haulier.domain.api_key import Scope
from haulier.domain.claim import Failure
from haulier.domain.fingerprint import fingerprint, id_text
from haulier.domain.outcome import Outcome
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from haulier.queue.jobs.change import Changes, change
from tests.web.browsing import Browser, Element, SignedIn
from tests.web.jobs import claim, end, enqueue

TEXTS = [
    "</script><script>alert(1)</script></pre></main></body><h1>gone</h1>",
    """"><img src=x onerror=alert(1)>' onmouseover='alert(1)""",
    "<!-- ]]><svg/onload=alert(1)><a href=//evil.example>click</a>",
    "<base href=//evil.example/><meta http-equiv=refresh content=0;url=//evil.example>",
    "{{ 7 * 7 }}{% raw %} &lt;b&gt; &#60;script&#62; javascript:alert(1)",
    "\u202etxt.exe\u2066 \ufeff\u200b",
    "\x1b[2J\x07\r\n\t",
    "x" * 4000,
]
OURS = {"script", "img", "iframe", "object", "embed", "base", "form", "style", "link", "meta", "h1", "a"}


def elements(page: Element) -> list[tuple[str, str]]:
    """Return every element that could do something, with where it leads."""
    return [
        (each.tag, each.attrs.get("src") or each.attrs.get("href") or each.attrs.get("action") or "")
        for each in page.below()
        if each.tag in OURS
    ]


def texts_of(page: Element) -> str:
    return "".join(_texts(page))


def _texts(element: Element) -> Any:
    for each in element.children:
        if isinstance(each, str):
            yield each
        else:
            yield from _texts(each)


def test_shows_it_as_text_and_nothing_else(browser: Browser, conn: Connection) -> None:
    plain = [tag for tag, _ in elements(browser.page(f"/ui/jobs/{ended(conn, 'plain')}"))]
    wrong = []
    for text in TEXTS:
        page = browser.page(f"/ui/jobs/{ended(conn, text)}?show=hidden")
        group = id_text(fingerprint("send_email", text).id)
        paths = ("", "/jobs", f"/jobs?{asking(text)}", "/failures", f"/failures/{group}", "/running", "/workers")
        others = [browser.page(f"/ui{path}") for path in (*paths, f"/operations/new?{asking(text)}")]
        shown = texts_of(page)
        places = {place for each in (page, *others) for _, place in elements(each)}
        wrong += [(text, place) for place in places if place and not place.startswith(("/ui", "/docs", "#"))]
        wrong += [(text, "main")] if any(len(each.all("main")) != 1 for each in (page, *others)) else []
        wrong += [(text, "elements")] if [tag for tag, _ in elements(page)] != plain else []
        wrong += [(text, "payload")] if json.dumps(text, ensure_ascii=False) not in shown else []
        error = text.strip()[:300].replace("\r\n", "\n")
        wrong += [(text, "error")] if error not in shown.replace("\r\n", "\n") else []

    assert wrong == []


def asking(text: str) -> str:
    return urlencode({"kind": text[:500], "tag": text[:500], "payload.a": text[:500], "status": text[:500]})


def ended(conn: Connection, text: str) -> Any:
    """Return a job that has the text wherever it may be."""
    tag = "".join(letter for letter in text if letter.isprintable())[:60].strip() or "x"
    queue = f"q{abs(hash(text)) % 10**6}"
    job = enqueue(conn, {"note": text, text[:100]: [text, {"token": text}]}, queue=queue, tags=[tag])
    _, [fence] = claim(conn, queue, host=text[:100] or "dock")
    end(conn, fence, Outcome.fail_for_good(text), Failure(fingerprint("send_email", text), queue, text))
    return job


def test_shows_a_payload_that_is_too_deep_or_too_long_up_to_a_bound(browser: Browser, conn: Connection, sql) -> None:
    deep = "[" * 3000 + "]" * 3000
    for payload in (f'{{"a": {deep}}}', json.dumps({"a": ["x"] * 40_000})):
        [[job]] = sql("INSERT INTO haulier.job (kind, payload) VALUES ('odd', %s) RETURNING id", payload)

        page = browser.page(f"/ui/jobs/{job}")

        assert len(texts_of(page)) < 120_000
    assert "Show all" in page.text
    assert len(texts_of(browser.page(f"/ui/jobs/{job}?whole=1"))) > 200_000


def test_shows_the_record_of_a_change_of_a_payload_that_is_too_deep(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    # Of details 32 KiB are kept.
    deep = f'{{"a": {"[" * 12_000}{"]" * 12_000}}}'
    [[job]] = sql("INSERT INTO haulier.job (kind, payload) VALUES ('odd', %s) RETURNING id", deep)
    change(conn, job, Changes.of(payload={"b": 1}), actor="anna")
    sql("UPDATE haulier.audit SET details = jsonb_build_object('kind', 'odd', 'changes', jsonb_build_object('payload',"
        " jsonb_build_object('old', %s::jsonb)))", deep)  # fmt: skip

    page = browser.page(f"/ui/audit?job={job}")
    reader = signed_in(Scope.READ, Scope.OPERATE)

    assert [each.text[:5] for each in page.all("td", class_="full wraps small")] == ['{"kin']
    assert "•••" in reader.page("/ui/audit").text
    assert reader.get("/ui/audit.csv").status_code == 200


# Of blocks each is a paragraph of its own, at whose end every change of direction ends.
ISOLATED = {"a", "b", "bdi", "code", "small", "span", "strong", "title", "option"}
TURNED = "\u202egnp.exe"


def turning(page: Element, text: str = TURNED) -> list[str]:
    """Return what of the page stands behind the text in the same paragraph, and so is turned by it."""
    css = (FOLDER / "app.css").read_text()
    assert "a, b, bdi, code, small, span, strong, .mono { unicode-bidi: isolate; }" in css
    found = []
    for element in page.below():
        is_isolated = element.tag in ISOLATED or "mono" in element.attrs.get("class", "").split()
        for place, each in enumerate(element.children):
            if isinstance(each, str) and text in each and not is_isolated:
                # A worker's name ends with its process.
                rest = each.rpartition(text)[2].strip().removeprefix(":7")
                after = [it for it in element.children[place + 1 :] if text_of(it)]
                found += [f"<{element.tag}> {each.strip()[:80]}"] if rest or after else []
    return found


def text_of(each: Element | str) -> str:
    return each.strip() if isinstance(each, str) else each.text


def test_turns_the_direction_of_no_other_text(browser: Browser, conn: Connection, sql) -> None:
    revoked, _ = api_keys.create(conn, NewKey("shop", [Scope.READ]), actor="test")
    api_keys.revoke(conn, revoked.id, actor="test")
    sql("UPDATE haulier.api_key SET name = %s", TURNED)
    job = ended(conn, TURNED)
    running = enqueue(conn, queue="other")
    worker, _ = claim(conn, "other", host=TURNED)
    sql("UPDATE haulier.finished_job SET tags = %s", [TURNED])
    sql(
        "INSERT INTO haulier.operation (action, filter, matched, matched_is, as_of, starts_at, next_at, actor,"
        " unseen, doubted, cluster)"
        " VALUES ('cancel', %s, 1, 'exact', now(), now() + '1 h', now() + '1 h', 'anna', '{}', 'empty', 0)",
        json.dumps({"tag": [TURNED], "kind": ["x"]}),
    )
    group = id_text(fingerprint("send_email", TURNED).id)
    asked = urlencode({"tag": TURNED, "payload.a": TURNED, "queue": "mail"})
    plain = ("", "/jobs", "/running", "/running?by=worker", "/workers", "/failures", "/keys", "/operations", "/audit")
    of_one = (f"/jobs/{job}", f"/jobs/{running}", f"/workers/{worker}", f"/failures/{group}", "/queues/other")
    searches = [f"/search?{urlencode({'q': text})}" for text in (TURNED, f"{TURNED}!")]
    filters = (f"/jobs?{asked}", f"/failures?{urlencode({'text': TURNED})}", f"/operations/new?{asked}")
    paths = [*plain, *of_one, *searches, *filters, f"/jobs/new?like={job}"]

    found = {path: turning(browser.page(f"/ui{path}")) for path in paths}

    assert {path: each for path, each in found.items() if each} == {}
