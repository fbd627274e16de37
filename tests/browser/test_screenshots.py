"""The pictures of README.md and docs/dashboard.md (`make screenshots` takes them anew): it ..."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from playwright.sync_api import Page

from tests.browser.conftest import MakeTab
from tests.browser.pictures import called, kept, names_in, taken
from tests.browser.site import Site
from tests.browser.tab import PHONE
from tests.conftest import eventually
from tests.web import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 150_000
DESKTOP = {"width": 1280, "height": 800}
PICTURES = {
    "dashboard-overview": ("/ui", {"color_scheme": "light", "viewport": DESKTOP}),
    "dashboard-job": ("/ui/jobs/{failed_permanent}", {"color_scheme": "light", "viewport": DESKTOP}),
    "dashboard-phone": ("/ui", {"color_scheme": "dark", "viewport": PHONE}),
}


@pytest.mark.parametrize("name", PICTURES)
def test_shows_the_page_as_it_is_now(filled: Site, make_tab: MakeTab, name: str) -> None:
    path, look = PICTURES[name]
    tab, file = make_tab(**look), IMAGES / f"{name}.png"
    tab.enter(filled.url, filled.cookies)
    tab.page.goto(f"{filled.url}{path.format(**filled.jobs)}")

    picture = taken(tab.page)
    image = kept(file, picture)

    assert len(picture) > 20_000
    assert file.stat().st_size <= MOST_BYTES
    assert image.size == Image.open(io.BytesIO(picture)).size
    # If it shows another page: `make screenshots`.
    names = names_in(image)
    eventually(lambda: loaded(tab.page) == names)


def loaded(page: Page) -> list[str]:
    """Return what the page calls things, loaded anew: a part that is late is there the next time."""
    page.reload()
    return called(page).splitlines()
