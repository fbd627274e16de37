"""What clients send is described once: what else lists its fields has the same ones; and an id is read in one form."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import get_type_hints
from uuid import UUID

from marshmallow import Schema

from app.api.schemas.job import JobResponse
from app.api.schemas.response_schemas import ResponseSchema
from app.web.forms import change_form
from app.web.forms.job_form import JOB, SETTINGS
from app.web.kit.job_list_url import FILTERS
from haulier.cli.parts import job_fields
from haulier.cli.parts.options import FILTER, PARAMETERS
from haulier.client.job_types import JobChanges as ClientChanges
from haulier.client.job_types import JobRequest
from haulier.contrib import sqlalchemy
from haulier.domain.job import Job, NewJob
from haulier.domain.schedules.schedule import NOT_OF_A_SCHEDULE
from haulier.postgres.sql_files import columns_of
from haulier.queue.search.job_filter import CONDITIONS
from haulier.requests.fields import read_uuid
from haulier.requests.job_conditions import JobConditions
from haulier.requests.job_request import JobChanges, JobOptions
from haulier.requests.operation_request import OperationChanges

ROOT = Path(__file__).parents[2]


def test_the_schemas_of_the_api_are_those_of_answers():
    modules = [import_module(f"app.api.schemas.{path.stem}") for path in (ROOT / "app/api/schemas").glob("[a-z]*.py")]
    schemas = {
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Schema) and each.__module__ == module.__name__
    }

    assert len(schemas) > 30
    assert {each.__name__ for each in schemas if not issubclass(each, ResponseSchema)} == set()


# Django makes a model only in a process that it has set up.
DJANGO = """
import django, django.conf
django.conf.settings.configure(INSTALLED_APPS=["haulier.contrib.django"])
django.setup()
from haulier.contrib.django.models import Job
print(*(each.column for each in Job._meta.fields))
"""


def lists_by_hand() -> dict[str, set[str]]:
    """Return what each list of a job's columns that no statement shares has, or leaves out on purpose, by its place."""
    model = subprocess.run([sys.executable, "-c", DJANGO], capture_output=True, text=True, check=True, timeout=120)
    # Each command takes some of the options.
    typed = {"delay": None, "run_at": None, "timeout": 60, "tags": ["a"], **dict.fromkeys(job_fields.SAME, 1)}
    return {
        "haulier/domain/job.py: NewJob": {each.name for each in fields(NewJob)},
        "haulier/domain/job.py: Job": set(Job._fields),
        "haulier/requests/job_request.py: JobOptions": {"kind", "payload", *JobOptions().fields},
        "haulier/requests/job_request.py: JobChanges": {"kind", *JobChanges().fields},
        "haulier/requests/operation_request.py: OperationChanges": {"kind", "payload", *OperationChanges().fields},
        "haulier/client/job_types.py: JobRequest": set(get_type_hints(JobRequest)),
        "haulier/client/job_types.py: JobChanges": {"kind", *get_type_hints(ClientChanges)},
        "haulier/cli/parts/job_fields.py: fields_of": {"kind", "payload", *job_fields.fields_of(typed)},
        "haulier/contrib/django/models.py: Job": set(model.stdout.split()),
        "haulier/contrib/sqlalchemy.py: job": set(sqlalchemy.job.columns.keys()),
        "app/api/schemas/job.py: JobResponse": set(JobResponse().fields),
        "app/web/forms/job_form.py: JOB": set(JOB),
        # It has no field for tags yet.
        "app/web/forms/change_form.py: SETTINGS": {"kind", "payload", "tags", *change_form.SETTINGS},
    }


def test_no_list_by_hand_lacks_a_column_that_clients_set():
    def lacking(columns: set[str]) -> dict[str, set[str]]:
        return {place: columns - names for place, names in lists.items() if columns - names}

    lists, columns = lists_by_hand(), set(columns_of("set_by_clients"))

    assert lacking(columns) == {}
    # Each list would be named if it lacked one.
    assert lacking({"fresh"}).keys() == lists.keys()


def test_another_value_in_any_field_makes_another_request():
    due, hour = datetime(2026, 1, 1, tzinfo=UTC), timedelta(hours=1)
    job = NewJob("mail", {}, idempotency_key="order-7")
    values = {each.name: {"run_at": due, "delay": hour}.get(each.name, "other") for each in fields(NewJob)}
    others = {name: replace(job, **{name: value}).fingerprint() for name, value in values.items()}

    assert {name for name, other in others.items() if other == job.fingerprint()} == {"idempotency_key"}
    # If this changes, a request that is repeated after an upgrade is refused as another one under its key.
    assert job.fingerprint().hex().startswith("4e5913281eb8eb3e7eab")


def test_the_forms_ask_for_every_setting_of_a_job():
    assert set(SETTINGS) == JobOptions().fields.keys() - set(NOT_OF_A_SCHEDULE)


def test_every_condition_of_a_filter_reaches_the_database():
    assert CONDITIONS.keys() == JobConditions().fields.keys()


def test_the_command_line_has_every_condition_of_a_filter():
    assert {FILTER.get(name, name) for name in PARAMETERS} == {*CONDITIONS, "payload"}


def test_the_filters_of_the_dashboard_are_conditions():
    short = {"after": "created_after", "before": "created_before"}
    short |= {"ended_after": "finished_after", "ended_before": "finished_before"}

    assert {short.get(name, name) for name in FILTERS} <= CONDITIONS.keys()


ID = "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"


def test_an_id_is_read_in_its_own_form_only() -> None:
    # UUID() takes each of the others but the first two and the last.
    others = ["", ID[:-1], ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}", ID.replace("7c5e", "७c5e"), f"{ID}\n"]

    assert [read_uuid(text) for text in (ID, ID.upper())] == [UUID(ID)] * 2
    assert [text for text in others if read_uuid(text) is not None] == []
