import pytest
from database import Base, engine

from haulier.contrib.sqlalchemy import create_schema


@pytest.fixture(scope="session", autouse=True)
def tables():
    Base.metadata.create_all(engine)
    create_schema(engine)
