"""The menu, and each section's place in it."""

from __future__ import annotations

from dataclasses import dataclass

GROUPS = ("Work", "System", "Access")


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """A section's place in the menu. `group` is one of GROUPS; key is pressed after `g` to go there."""

    group: str
    place: int
    title: str
    icon: str
    key: str = ""


# By the names of the sections. Filled once, before any request.
MENU: dict[str, MenuEntry] = {}
WITHIN: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the menu. `endpoint` as url_for takes it."""

    name: str
    endpoint: str
    entry: MenuEntry


def links() -> list[tuple[str, list[Link]]]:
    """Return the menu, group by group."""
    found = [Link(name, f"ui.{name}.show", entry) for name, entry in MENU.items()]
    found.sort(key=lambda link: link.entry.place)
    return [(group, [link for link in found if link.entry.group == group]) for group in GROUPS]
