"""A browser without a screen: Flask's client, which sends what browsers send, and reads pages as HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from haulier.domain.api_key import ApiKey, Scope
from tests.http.callers import MakeKey

SAME = {"Sec-Fetch-Site": "same-origin"}
VOID = {"meta", "link", "input", "br", "hr", "img", "path", "rect", "circle", "use"}


@dataclass
class Element:
    """An element of a page. `attrs` are its attributes."""

    tag: str
    attrs: dict[str, str]
    parent: Element | None = None
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Return its text, with one space in the place of many."""
        return " ".join("".join(each if isinstance(each, str) else f" {each.text} " for each in self.children).split())

    def all(self, tag: str, **attrs: str) -> list[Element]:
        """Return the elements below it, of this tag and with these attributes."""
        return [
            each
            for each in self.below()
            if each.tag == tag and all(each.attrs.get(name.rstrip("_")) == value for name, value in attrs.items())
        ]

    def one(self, tag: str, **attrs: str) -> Element:
        [found] = self.all(tag, **attrs)
        return found

    def links(self, text: str) -> list[str]:
        return [each.attrs["href"] for each in self.all("a") if each.text == text]

    def rows(self) -> dict[str, Element]:
        """Return the rows of tables that have an id, by that id without the word before it."""
        return {each.attrs["id"].partition("-")[2]: each for each in self.all("tr") if "id" in each.attrs}

    def named_rows(self) -> dict[str, Element]:
        """Return the rows of tables that begin with a name, by that name."""
        rows = [each for each in self.all("tr") if each.all("th", scope="row")]
        return {(each.all("th")[0].all("a") or each.all("th"))[0].text: each for each in rows}

    def cells(self) -> dict[str, str]:
        """Return the texts of a row's cells, by the names of their columns."""
        return {each.attrs["data-name"]: each.text for each in self.all("td") if "data-name" in each.attrs}

    def control(self, name: str) -> Element:
        """Return the control of the field with this name, whatever its tag."""
        return next(each for each in self.below() if each.attrs.get("id") == f"f-{name}")

    def actions(self) -> set[str]:
        """Return the paths to which its forms and buttons send something."""
        forms = {each.attrs["action"] for each in self.all("form", method="post")}
        return forms | {each.attrs["formaction"] for each in self.all("button") if "formaction" in each.attrs}

    def below(self) -> Iterator[Element]:
        for each in self.children:
            if isinstance(each, Element):
                yield each
                yield from each.below()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.at = Element("", {})
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            self.faults.append(f"<{tag}> has an attribute twice: {names}")
        made = Element(tag, {name: value or "" for name, value in attrs}, self.at)
        self.at.children.append(made)
        if tag not in VOID:
            self.at = made

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if self.at.tag != tag:
            self.faults.append(f"</{tag}> closes <{self.at.tag}>")
        if self.at.parent is not None:
            self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.children.append(data)


def read(text: str) -> Element:
    """Return the page. Raises: AssertionError if it is not well-formed."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.faults == []
    assert reader.at is reader.root, f"<{reader.at.tag}> is not closed"
    return reader.root


def faults(page: Element) -> list[str]:
    """Return what is wrong with a whole page."""
    ids = [each.attrs["id"] for each in page.below() if "id" in each.attrs]
    labelled = {each.attrs.get("for") for each in page.all("label")}
    found = [f"the id {name} twice" for name in sorted(set(ids)) if ids.count(name) > 1]
    found += [f"{len(page.all('h1'))} <h1>"] if len(page.all("h1")) != 1 else []
    for each in page.below():
        if each.tag in ("input", "select", "textarea") and each.attrs.get("type") != "hidden":
            is_named = each.attrs.get("id") in labelled or "aria-label" in each.attrs or _is_in(each, "label")
            found += [] if is_named else [f"a field without a label: {each.attrs}"]
        if each.tag == "button" and not (each.text or "aria-label" in each.attrs):
            found.append(f"a button without a name: {each.attrs}")
        points_at = [each.attrs[name] for name in ("aria-describedby", "aria-labelledby") if name in each.attrs]
        found += [f"{name} is described nowhere" for text in points_at for name in text.split() if name not in ids]
        found += [f"{each.tag} has {name}" for name in each.attrs if name == "style" or name.startswith("on")]
        if each.tag == "script" and each.text:
            found.append("an inline script")
    return found


def _is_in(element: Element, tag: str) -> bool:
    parent = element.parent
    return parent is not None and (parent.tag == tag or _is_in(parent, tag))


class Browser:
    def __init__(self, app: Flask, key: ApiKey | None = None, base_url: str = "http://localhost") -> None:
        self.client = app.test_client()
        self.key, self.base_url = key, base_url

    def get(self, path: str, **headers: str) -> TestResponse:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.get(path, headers={**SAME, **sent}, base_url=self.base_url)

    def page(self, path: str, status: int = 200) -> Element:
        """Return the page, which is valid. Raises: AssertionError."""
        response = self.get(path)
        assert response.status_code == status, response.text
        page = read(response.text)
        assert faults(page) == []
        return page

    def post(self, path: str, headers: dict[str, str] | None = None, **fields: Any) -> TestResponse:
        """Send a form with these fields, and nothing else."""
        sent = SAME if headers is None else headers
        return self.client.post(path, data=fields, headers=sent, base_url=self.base_url)

    def send(self, page: Element, action: str, /, **fields: Any) -> TestResponse:
        """Send the form of the page with this action, its hidden fields included."""
        return self.post(action, **{**form(page, action), **fields})

    def refused(self, page: Element, action: str, status: int = 422, /, **fields: Any) -> Element:
        """Send a form of the page that is refused with this status; return the valid page that says so."""
        response = self.send(page, action, **fields)
        assert response.status_code == status, response.text
        again = read(response.text)
        assert faults(again) == []
        return again

    def act(self, path: str, /, **fields: Any) -> TestResponse:
        """Send these fields there with the token of the session, whether a page offers that or not."""
        return self.post(path, csrf=self.csrf, **fields)

    @property
    def csrf(self) -> str:
        """Return what each form of the session has to send."""
        return self.page("/ui/settings").all("input", name="csrf")[0].attrs["value"]

    def through(self, path: str) -> Iterator[Element]:
        """Yield the page, and all that follow it."""
        while path:
            page = self.page(path)
            yield page
            path = next((each.attrs["href"] for each in page.all("a", rel="next")), "")

    def seen(self, path: str) -> str:
        """Return what a poll of the page says that it has seen."""
        return self.page(path).one("main").attrs["data-seen"]

    def poll(self, path: str, seen: str) -> int:
        """Return the status of the answer to a poll: 204 if the page has no news."""
        return self.get(path, Haulier_Live=seen).status_code

    def forget(self) -> None:
        """Have the application read everything anew that it keeps for some seconds."""
        self.client.application.extensions.pop("haulier_shelf", None)

    def sign_in(self, token: str, **fields: str) -> TestResponse:
        return self.send(self.page("/ui/sign-in"), "/ui/sign-in", key=token, **fields)

    def cookie(self, name: str) -> str | None:
        found = self.client.get_cookie(name, domain=self.base_url.rpartition("/")[2])
        return None if found is None else found.value


def form(page: Element, action: str) -> dict[str, str]:
    """Return the fields of the form with this action, as they are."""
    forms = page.all("form", action=action, method="post")
    assert forms, f"no form for {action}"
    fields = [each for each in forms[0].below() if each.tag == "input" and each.attrs.get("name")]
    kept = [each for each in fields if each.attrs.get("type") not in ("checkbox", "radio") or "checked" in each.attrs]
    return {each.attrs["name"]: each.attrs.get("value", "") for each in kept}


MakeSite = Callable[..., Flask]
SignedIn = Callable[..., Browser]


def new_key(make: MakeKey, *scopes: Scope, **options: object) -> tuple[ApiKey, str]:
    key, shown = make(*scopes, **options)
    return key, shown["Authorization"].removeprefix("Bearer ")


def check_each(call: Callable[..., Any], *examples: tuple[Any, ...]) -> None:
    """Check that the call returns the last value of each example for the values before it."""
    wrong = []
    for *values, expected in examples:
        returned = call(*values)
        if returned != expected:
            wrong.append(f"{values} returns {returned!r}, not {expected!r}")
    assert not wrong, "\n".join(wrong)
