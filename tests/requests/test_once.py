"""What clients send is described once: what else lists its fields has the same ones; and an id is read in one form."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from uuid import UUID

from marshmallow import Schema

from app.api.schemas.response_schemas import ResponseSchema
from app.web.forms.job_form import SETTINGS
from app.web.kit.job_list_url import FILTERS
from haulier.cli.parts.options import FILTER, PARAMETERS
from haulier.domain.schedules.schedule import NOT_OF_A_SCHEDULE
from haulier.queue.search.job_filter import CONDITIONS
from haulier.requests.fields import read_uuid
from haulier.requests.job_conditions import JobConditions
from haulier.requests.job_request import JobOptions

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
