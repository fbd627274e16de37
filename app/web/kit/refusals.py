"""The errors that only the dashboard raises."""

from __future__ import annotations

from haulier.domain.errors import HaulierError


class TooOld(HaulierError):
    """This page has expired: it belongs to another session."""


class NotHere(HaulierError):
    """This dashboard does not allow this to anybody."""
