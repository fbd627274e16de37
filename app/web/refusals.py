"""What the dashboard refuses for reasons of its own."""

from __future__ import annotations

from haulier.domain.errors import HaulierError


class TooBusy(HaulierError):
    """Other pages are being made, and the API needs what is left of this process."""


class TooOld(HaulierError):
    """This page is too old: it was made for another session."""


class NotOurs(HaulierError):
    """This form was not sent by a page of this dashboard."""


class NotHere(HaulierError):
    """This cannot be done here, whoever asks for it."""
