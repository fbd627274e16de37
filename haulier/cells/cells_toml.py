"""Read cells.toml and check it: where the API of each cell listens, and which API keys belong to it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from haulier.domain.api_key import ID_PATTERN
from haulier.domain.errors import ConfigError
from haulier.toml_file import read_toml

MOST_CELL = 255
# Programs write these into configuration files: no space, quote, semicolon, brace, $ or backslash may be in them.
_SERVER = re.compile(
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]):(?P<port>[0-9]{1,5})"
)
_URL = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?")
_IS_SERVER = "must be host:port, such as 10.0.1.10:8080"
_IS_KEY = "must be the id of an API key: the 12 characters between hlr_ and the next _"
_IS_URL = "must be a URL such as https://cell-1.example.com, without a password, ? or #"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the file. `servers` are host:port, where its API listens; `keys` are ids of API keys."""

    number: int
    servers: tuple[str, ...]
    dashboard: str | None = None
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of the file, by number. `default` is the one for all callers that no other has."""

    default: int
    cells: tuple[Cell, ...]


def read_cells(path: Path) -> Cells:
    """Return the cells of the file. Raises: ConfigError, which names the first wrong field and quotes no key."""
    document = read_toml(path)
    try:
        return _cells(document)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def _cells(document: Mapping[str, Any]) -> Cells:
    _refuse_unknown(document, ("default", "cell"), "")
    tables = document.get("cell")
    if not isinstance(tables, list) or not tables:
        raise ValueError("cell: must be one table [[cell]] or more")
    cells = [_cell(table, place) for place, table in enumerate(tables, 1)]
    _refuse_doubles(cells)
    default = _number(document.get("default"), "default")
    if default not in {cell.number for cell in cells}:
        raise ValueError(f"default: there is no [[cell]] with number = {default}")
    return Cells(default, tuple(sorted(cells, key=lambda cell: cell.number)))


def _cell(table: object, place: int) -> Cell:
    if not isinstance(table, dict):
        raise ValueError("cell: must be one table [[cell]] or more")
    number = _number(table.get("number"), f"[[cell]] {place}: number")
    at = f"cell {number}: "
    _refuse_unknown(table, ("number", "servers", "dashboard", "keys"), at)
    servers = _texts(table.get("servers"), f"{at}servers", _is_server, _IS_SERVER)
    if not servers:
        raise ValueError(f"{at}servers: must name at least one, such as 10.0.1.10:8080")
    dashboard = table.get("dashboard")
    if dashboard is not None and not (isinstance(dashboard, str) and _is_url(dashboard)):
        raise ValueError(f"{at}dashboard: {_IS_URL}")
    return Cell(number, servers, dashboard, _texts(table.get("keys", []), f"{at}keys", _is_key, _IS_KEY))


def _refuse_unknown(table: Mapping[str, Any], known: tuple[str, ...], at: str) -> None:
    if unknown := sorted(table.keys() - set(known)):
        raise ValueError(f"{at}{unknown[0]!r} is unknown; known are {', '.join(known)}")


def _number(value: object, name: str) -> int:
    # Not isinstance: True is an int.
    if type(value) is not int or not 1 <= value <= MOST_CELL:
        raise ValueError(f"{name}: must be a whole number from 1 to {MOST_CELL}")
    return value


def _texts(value: object, name: str, is_good: Callable[[str], bool], rule: str) -> tuple[str, ...]:
    """Return the texts of a list. The error does not quote them: somebody may have pasted a whole key."""
    if not isinstance(value, list):
        raise ValueError(f'{name}: must be a list such as ["…"]')
    for place, text in enumerate(value, 1):
        if not isinstance(text, str) or not is_good(text):
            raise ValueError(f"{name}: the entry at place {place} {rule}")
    return tuple(value)


def _is_server(text: str) -> bool:
    parts = _SERVER.fullmatch(text)
    if parts is None or not 0 < int(parts["port"]) < 65_536:
        return False
    host = parts["host"]
    # A name of digits and dots would be read as an address by some programs and as a name by others.
    if not host.startswith("[") and not re.fullmatch(r"[0-9.]+", host):
        return True
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _is_key(text: str) -> bool:
    return re.fullmatch(ID_PATTERN, text) is not None


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return _URL.fullmatch(text) is not None and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _refuse_doubles(cells: list[Cell]) -> None:
    numbers: set[int] = set()
    owners: dict[str, int] = {}
    for cell in cells:
        if cell.number in numbers:
            raise ValueError(f"cell {cell.number}: two tables [[cell]] have this number")
        numbers.add(cell.number)
        for name, texts in (("servers", cell.servers), ("keys", cell.keys)):
            for text in texts:
                if text in owners:
                    other = "twice" if owners[text] == cell.number else f"in cell {owners[text]} too"
                    raise ValueError(f"cell {cell.number}: {name}: {text} is {other}")
                owners[text] = cell.number
