"""The id of a job or a worker in a request is read in the one form in which answers write it."""

from __future__ import annotations

from uuid import UUID

from haulier.requests.fields import read_uuid

ID = "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"


def test_an_id_is_read_in_its_own_form_only() -> None:
    # UUID() takes each of the others but the first two and the last.
    others = ["", ID[:-1], ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}", ID.replace("7c5e", "७c5e"), f"{ID}\n"]

    assert [read_uuid(text) for text in (ID, ID.upper())] == [UUID(ID)] * 2
    assert [text for text in others if read_uuid(text) is not None] == []
