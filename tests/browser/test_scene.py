"""The dashboard in a bad night, as it looks: it ..."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.dashboard import HOME
from tests.browser.conftest import MakeSite, MakeTab, Site
from tests.browser.pictures import check_picture
from tests.browser.scene import FLOODED, count_again, spoil
from tests.browser.tab import PHONE, WIDE, Tab
from tests.browser.walking import walk

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

FEW_JOBS = 400
DESKTOP = {"width": 1280, "height": 800}
PAGES = [
    f"{HOME}{path}"
    for path in (
        "", "?span=24h", "/queues", f"/queues/{FLOODED}", "/failures", "/kinds", "/kinds/export_row", "/running",
        "/workers", "/operations", "/database", "/jobs", f"/jobs?queue={FLOODED}", "/jobs?status=failed_permanent",
    )
]  # fmt: skip
# What the notices say, and how the queues are.
SAYS = "main .notice strong, main .state-cell"
LOOKS = {
    f"{theme}, {viewport['width']} px": {"color_scheme": theme, "viewport": viewport, "has_touch": viewport is PHONE}
    for theme in ("light", "dark")
    for viewport in (WIDE, PHONE)
}
# What a chart draws without any colour, and labels of an axis that take more than one line.
UNDRAWN = """() => [
    ...[...document.querySelectorAll("main .chart path, main .chart rect")].filter((each) => {
        const style = getComputedStyle(each);
        return style.stroke === "none" && style.fill === "none";
    }),
    ...[...document.querySelectorAll("main .plot .y span")].filter((each) => {
        const text = document.createRange();
        text.selectNodeContents(each);
        return text.getClientRects().length > 1;
    }),
].map((each) => each.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def night(make_site: MakeSite) -> Iterator[Site]:
    with make_site(FEW_JOBS) as site:
        spoil(site.dsn)
        yield site


@pytest.mark.parametrize("look", LOOKS)
def test_keeps_its_shape_in_a_bad_night(night: Site, make_tab: MakeTab, look: str) -> None:
    def check(tab: Tab) -> list[str]:
        small = tab.too_small() if tab.page.viewport_size == PHONE else []
        return [*tab.faults(), *tab.faults_of_access(), *small, *tab.page.evaluate(UNDRAWN)]

    count_again(night.dsn)
    assert walk(night, make_tab(**LOOKS[look]), PAGES, check) == {}


@pytest.mark.parametrize("name", ["light, 1280 px", "dark, 390 px"])
def test_shows_a_bad_night_as_in_its_picture(night: Site, make_tab: MakeTab, name: str) -> None:
    tab = make_tab(**{**LOOKS[name], **({"viewport": DESKTOP} if "1280" in name else {})})
    count_again(night.dsn)
    tab.enter(night.url, night.cookies)
    tab.page.goto(f"{night.url}{HOME}")

    check_picture(tab.page, f"dashboard-night-{name.partition(',')[0]}", also=SAYS)
