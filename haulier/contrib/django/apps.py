"""The app, for INSTALLED_APPS. It has no migrations: `haulier migrate` makes its tables."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core import mail
from django.db import connections, router
from django.db.models.signals import post_migrate


class HaulierConfig(AppConfig):
    """The app `haulier`."""

    name = "haulier.contrib.django"
    label = "haulier"
    verbose_name = "Haulier"

    def ready(self) -> None:
        """Have Django's test databases get Haulier's schema."""
        post_migrate.connect(_create_in_tests, sender=self)


def _create_in_tests(using: str, **_: Any) -> None:
    # Django makes the outbox at the start of a test run, and nowhere else: on other databases `haulier migrate` is run
    # on purpose, and with its own role.
    if not hasattr(mail, "outbox"):
        return
    connection = connections[using]
    if connection.vendor == "postgresql" and router.allow_migrate(using, HaulierConfig.label):
        from haulier.contrib.django.schema import create_schema

        create_schema(connection)
