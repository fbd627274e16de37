"""A browser without a screen: Flask's client, which sends what browsers send, and reads pages as HTML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from haulier.domain.api_key import ApiKey

SAME = {"Sec-Fetch-Site": "same-origin"}
VOID = {"meta", "link", "input", "br", "hr", "img", "path", "rect", "circle", "use"}


@dataclass
class Element:
    """An element of a page."""

    tag: str
    given: dict[str, str]
    parent: Element | None = None
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Return its text, with one space in the place of many."""
        return " ".join("".join(each if isinstance(each, str) else f" {each.text} " for each in self.children).split())

    def all(self, tag: str, **given: str) -> list[Element]:
        """Return the elements below it, of this tag and with these attributes."""
        return [
            each
            for each in self.below()
            if each.tag == tag and all(each.given.get(name.rstrip("_")) == value for name, value in given.items())
        ]

    def below(self) -> Iterator[Element]:
        """Yield every element below it."""
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
    """Return the page. Raises: AssertionError where it is not well-formed."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.faults == []
    assert reader.at is reader.root, f"<{reader.at.tag}> is not closed"
    return reader.root


def faults(page: Element) -> list[str]:
    """Return what is wrong with a whole page."""
    ids = [each.given["id"] for each in page.below() if "id" in each.given]
    labelled = {each.given.get("for") for each in page.all("label")}
    found = [f"the id {name} twice" for name in sorted(set(ids)) if ids.count(name) > 1]
    found += [f"{len(page.all('h1'))} <h1>"] if len(page.all("h1")) != 1 else []
    for each in page.below():
        if each.tag in ("input", "select", "textarea") and each.given.get("type") != "hidden":
            is_named = each.given.get("id") in labelled or "aria-label" in each.given or _is_in(each, "label")
            found += [] if is_named else [f"a field without a label: {each.given}"]
        if each.tag == "button" and not (each.text or "aria-label" in each.given):
            found.append(f"a button without a name: {each.given}")
        points_at = [each.given[name] for name in ("aria-describedby", "aria-labelledby") if name in each.given]
        found += [f"{name} is described nowhere" for text in points_at for name in text.split() if name not in ids]
        found += [f"{each.tag} has {name}" for name in each.given if name == "style" or name.startswith("on")]
        if each.tag == "script" and each.text:
            found.append("an inline script")
    return found


def _is_in(element: Element, tag: str) -> bool:
    parent = element.parent
    return parent is not None and (parent.tag == tag or _is_in(parent, tag))


class Browser:
    """A browser, perhaps signed in."""

    def __init__(self, app: Flask, key: ApiKey | None = None, base_url: str = "http://localhost") -> None:
        self.client = app.test_client()
        self.key, self.base_url = key, base_url

    def get(self, path: str, **headers: str) -> TestResponse:
        """Ask for a page."""
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

    def send(self, page: Element, action: str, **fields: Any) -> TestResponse:
        """Send the form of the page with this action, its hidden fields included."""
        return self.post(action, **{**form(page, action), **fields})

    def sign_in(self, token: str, **fields: str) -> TestResponse:
        """Sign in with this API key."""
        return self.send(self.page("/ui/sign-in"), "/ui/sign-in", key=token, **fields)

    def cookie(self, name: str) -> str | None:
        """Return the value of a cookie that the browser has."""
        found = self.client.get_cookie(name, domain=self.base_url.rpartition("/")[2])
        return None if found is None else found.value


def form(page: Element, action: str) -> dict[str, str]:
    """Return the fields of the form with this action, as they are."""
    forms = page.all("form", action=action, method="post")
    assert forms, f"no form for {action}"
    fields = [each for each in forms[0].below() if each.tag == "input" and each.given.get("name")]
    kept = [each for each in fields if each.given.get("type") not in ("checkbox", "radio") or "checked" in each.given]
    return {each.given["name"]: each.given.get("value", "") for each in kept}
