"""The model by which a Django application enqueues, in the transaction of its own rows."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.functions import Now


class _JobId(models.AutoField):
    """An id that the database makes. Django would write a UUIDField into its INSERT, and a role may not set ids."""

    def db_type(self, connection: Any) -> str:
        return "uuid"

    def get_prep_value(self, value: Any) -> Any:
        return value


class _Texts(models.Field):
    """An array of texts. Django's own ArrayField wants `django.contrib.postgres` in INSTALLED_APPS."""

    def db_type(self, connection: Any) -> str:
        return "text[]"


class Job(models.Model):
    """A job to be enqueued: `Job.objects.create(kind="send_email", payload={…})`. It cannot be read or changed."""

    id = _JobId(primary_key=True)
    kind = models.CharField(max_length=64)
    payload = models.JSONField(default=dict)
    queue = models.CharField(max_length=64, default="default")
    priority = models.SmallIntegerField(default=0)
    run_at = models.DateTimeField(db_default=Now())
    max_attempts = models.IntegerField(default=3)
    timeout_seconds = models.IntegerField(null=True)
    tags = _Texts(null=True)

    class Meta:
        """Haulier's own table, which no migration of Django's touches."""

        managed = False
        app_label = "haulier"
        db_table = 'haulier"."job'
