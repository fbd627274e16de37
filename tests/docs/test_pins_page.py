"""docs/pins.md: it ..."""

from __future__ import annotations

import re
from configparser import ConfigParser

from haulier.version import requirement
from tests.docs.reading import ROOT

ROW = re.compile(r"^\| ([\w-]+) \| ([\d.]+) \|(?: ([\d.]+))? \| (?:none|`(\w+)`) \|$", re.MULTILINE)
# What an index that somebody else may own would answer.
BY_NAME = re.compile(r"\b(pip|pipx|uv|poetry) (install|add)\b[^`;&|]*[\s'\"]haulier(?![\w./-])")
RANGE = re.compile(r"^([\w-]+)>=([\d.]+)(?:,<([\d.]+))?$", re.MULTILINE)


def test_states_the_versions_and_extras_of_setup_cfg():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lists = {"": setup["options"]["install_requires"], **setup["options.extras_require"]}
    stated: dict[str, set[tuple[str, str, str]]] = {}
    for name, lowest, below, extra in ROW.findall((ROOT / "docs" / "pins.md").read_text()):
        stated.setdefault(extra, set()).add((name, lowest, below))
    needed = {extra: set(RANGE.findall(lists[extra])) for extra in ("", "worker", "server", "images")}
    needed["server"] -= needed["worker"]

    assert stated == needed


def test_installs_haulier_by_the_place_of_its_wheel_and_not_by_name():
    places = [
        ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs", "haulier", "app", "lab", "tests", "tools")
    ]
    files = [path for place in places for path in (place.rglob("*") if place.is_dir() else [place])]

    by_name = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in files
        if path.suffix in (".md", ".py", ".txt", ".html")
        for line in path.read_text().splitlines()
        if BY_NAME.search(line)
    ]

    assert all(BY_NAME.search(line) for line in ("pip install 'haulier[server]'", "pipx install haulier"))
    assert [line for line in by_name if "BY_NAME" not in line] == []
    assert not re.match(r"haulier(\[|=|$)", requirement("worker"))
