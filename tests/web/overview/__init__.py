"""What an overview says, and counts that it goes by."""

from __future__ import annotations

from typing import Any

from tests.web.browsing import Element

PLANTED = """
    INSERT INTO haulier.rollup (queue, at, step, kind, succeeded, failed)
    SELECT %s, date_bin('1 hour', now() - %s::interval, 'epoch'::timestamptz), %s, 'send_email', %s, %s
"""


def fresh(sql: Any) -> None:
    """Have it all counted just now."""
    sql("UPDATE haulier.counting SET through = now()")


def headlines(page: Element) -> list[str]:
    """Return the first line of each notice."""
    return [each.all("strong")[0].text for each in page.all("div") if each.attrs.get("class", "").startswith("notice")]


def word(page: Element, name: str) -> str:
    """Return how the queue of this name is said to be."""
    return page.named_rows()[name].all("td", class_="state-cell")[0].text


def figure(page: Element, name: str) -> str:
    """Return a figure of the overview, with what is said of it."""
    [found] = [each.all("dd") for each in page.all("div") if each.all("dt") and each.all("dt")[0].text == name]
    return " ".join(each.text for each in found if each.text)


def due(page: Element) -> str:
    """Return how many jobs are due."""
    return page.one("dl", class_="figures").all("dd", class_="n")[0].text


def cells(page: Element, name: str) -> list[str]:
    """Return the cells of this column."""
    return [cell.text for cell in page.all("td") if cell.attrs.get("data-name") == name]
