"""Several cells on one machine: APIs with a database each, for the tests of the router and its figures."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from haulier.cells.cells_toml import Cell, Cells
from haulier.domain.api_key import ApiKey, Scope
from haulier.postgres.connection import connect
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from haulier.queue.upkeep.migrate import migrate


@dataclass(frozen=True)
class LiveCell:
    """A cell with an API key that may do everything in it. `address` is where its API listens, as host:port."""

    number: int
    dsn: str
    address: str
    key: ApiKey
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that show its key."""
        return {"Authorization": f"Bearer {self.token}"}


def make_cell(dsn: str, number: int) -> tuple[ApiKey, str]:
    """Give a database its number, and return a new API key of it with its token."""
    with closing(connect(dsn, application_name="lab")) as conn:
        migrate(conn, retention_days=30, cell=number)
        return api_keys.create(conn, NewKey(f"cell-{number}", [Scope.ADMIN]), actor="lab")


def file_of(*cells: LiveCell) -> Cells:
    """Return what cells.toml says of these cells, of which the first is the default."""
    return Cells(cells[0].number, tuple(Cell(each.number, (each.address,), None, (each.key.id,)) for each in cells))
