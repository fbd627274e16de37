"""The statements that each connection of a worker prepares."""

from __future__ import annotations

from haulier.postgres.prepared import Prepared

prepared = Prepared(("claim_by_index", "claim", "settle", "settle_noting"))
