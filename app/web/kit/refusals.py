"""What the dashboard refuses for reasons of its own."""

from __future__ import annotations

from haulier.domain.errors import HaulierError


class TooOld(HaulierError):
    """This page is too old: it was made for another session."""


class NotHere(HaulierError):
    """This cannot be done here, whoever asks for it."""
