"""The recipes of docs/enqueue-from.md run under the rights that the docs grant, and no others. A recipe ..."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import make_dsn, parse_dsn

from haulier.postgres.connection import connect
from tests.conftest import sql_on
from tests.docs.reading import ROOT, blocks, section, text_of

pytestmark = pytest.mark.direct("is about a role of its own; a pool has one role for all")

PAGE = "docs/enqueue-from.md"
# Neither the server's zone nor UTC, so that a time which is read in the session's zone is seen to be wrong.
ZONE = "America/New_York"
# Debian's packages of Node have their modules there.
NODE_PATH = "/usr/share/nodejs"


# What libpq calls these variables in a connection string.
LIBPQ = {
    "PGHOST": "host",
    "PGPORT": "port",
    "PGDATABASE": "dbname",
    "PGUSER": "user",
    "PGPASSWORD": "password",
}


@dataclass(frozen=True)
class Shop:
    """An application's database. `libpq` has the variables of its own role, and ask runs SQL as a superuser."""

    libpq: dict[str, str]
    folder: Path
    ask: Callable[..., list[tuple[Any, ...]]]

    def run(self, *command: str) -> Any:
        """Run a program in the shop's folder, and return what it printed as JSON."""
        paths = {"PATH": os.environ["PATH"], "NODE_PATH": NODE_PATH, "PYTHONPATH": str(ROOT)}
        environ = {**paths, "TZ": ZONE, **self.libpq}
        ran = subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout) if ran.stdout.strip() else None

    def write(self, name: str, *parts: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(parts), encoding="utf-8")

    @property
    def jobs(self) -> list[UUID]:
        """Return the ids of the jobs, the oldest first."""
        return [row[0] for row in self.ask("SELECT id FROM haulier.job ORDER BY id")]

    def tags(self, *job_ids: UUID) -> list[Any]:
        return [self.ask("SELECT tags FROM haulier.job WHERE id = %s", each)[0][0] for each in job_ids]

    @property
    def orders(self) -> int:
        [(number,)] = self.ask("SELECT count(*) FROM orders")
        return int(number)

    def waits(self, job_id: UUID) -> timedelta:
        """Return how long after its making the job is due."""
        [(created_at, run_at)] = self.ask("SELECT created_at, run_at FROM haulier.job WHERE id = %s", job_id)
        assert isinstance(run_at, datetime)
        return timedelta(seconds=(run_at - created_at).total_seconds())


@pytest.fixture
def shop(migrated_database: str, tmp_path: Path) -> Iterator[Shop]:
    """Give a database with the schema, orders of the shop's own, and a role with the documented rights.

    The table of jobs has columns that no recipe knows, as after an upgrade of Haulier.
    """
    with closing(connect(migrated_database)) as conn:
        ask, role = sql_on(conn), f"haulier_test_{uuid4().hex[:12]}"
        ask("ALTER TABLE haulier.job ADD COLUMN of_a_later_version bigint")
        ask("ALTER TABLE haulier.job ADD COLUMN another text[] NOT NULL DEFAULT '{}'")
        [granted] = re.findall(
            r"^```sql\n(.*?)^```", section("docs/database.md", "## An application that enqueues"), re.M | re.S
        )
        ask(re.sub(r"\bshop\b", role, granted))
        ask(f"ALTER ROLE {role} PASSWORD 'swordfish'")
        ask("CREATE TABLE orders (id bigserial PRIMARY KEY, email text NOT NULL)")
        ask(f"GRANT ALL ON orders, orders_id_seq TO {role}")
        parts = parse_dsn(migrated_database)
        libpq = {"PGHOST": parts["host"], "PGPORT": parts.get("port", "5432"), "PGDATABASE": parts["dbname"]}
        yield Shop({**libpq, "PGUSER": role, "PGPASSWORD": "swordfish", "PGTZ": ZONE}, tmp_path, ask)
        ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", role)
        ask(f"DROP OWNED BY {role}; DROP ROLE {role}")


def of(heading: str, language: str) -> list[str]:
    """Return the blocks of a language below a heading of the page."""
    return re.findall(rf"^```{language}\n(.*?)^```", section(PAGE, f"## {heading}"), flags=re.M | re.S)


def is_an_hour(wait: timedelta) -> bool:
    return abs(wait - timedelta(hours=1)) < timedelta(minutes=1)


def test_in_psql_makes_a_job_and_none_if_it_is_rolled_back(shop: Shop) -> None:
    [said] = of("psql, and any other client", "sql")
    with closing(connect(make_dsn(**{word: shop.libpq[name] for name, word in LIBPQ.items()}))) as conn:
        sql = sql_on(conn)
        sql(f"SET TimeZone = '{ZONE}'")

        sql(said.replace("COMMIT", "ROLLBACK"))
        rolled_back = shop.jobs
        sql(said)
        [(naive,)] = sql(
            "INSERT INTO haulier.job (kind, payload, run_at)"
            " VALUES ('send_email', '{}', (now() AT TIME ZONE 'UTC')::text::timestamptz) RETURNING id"
        )

    assert rolled_back == []
    assert shop.jobs[1:] == [naive]
    assert is_an_hour(shop.waits(shop.jobs[0]))
    assert shop.waits(naive) > timedelta(hours=3)


DJANGO_MODELS = """
from django.db import models

class Order(models.Model):
    email = models.EmailField()
"""
DJANGO_SETTINGS = """
import os

DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"]}}
INSTALLED_APPS = ["haulier.contrib.django", "shop"]
USE_TZ = True
TIME_ZONE = "America/New_York"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
DJANGO_MAIN = """
import json, os, sys, warnings
from datetime import UTC, datetime

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import django
django.setup()
from django.core.management import call_command
from django.db import ProgrammingError, transaction
from haulier.contrib.django.models import Job
from shop.models import Order
from shop.orders import buy

Order._meta.db_table = "orders"
call_command("check", fail_level="WARNING", stdout=sys.stderr)
try:
    with transaction.atomic():
        buy("nobody@example.com")
        raise KeyError
except KeyError:
    pass
Job._meta.db_table, table = "away", Job._meta.db_table
try:
    buy("nobody@example.com")
except ProgrammingError:
    pass
Job._meta.db_table = table
before = Order.objects.count()
bought = buy("ann@example.com")
plain = Job.objects.create(kind="send_email", payload={}, tags=["vip", "a, b"])
many = Job.objects.bulk_create([Job(kind="send_email", payload={}) for _ in range(2)])
warnings.simplefilter("ignore")
naive = Job.objects.create(kind="send_email", payload={}, run_at=datetime.now(UTC).replace(tzinfo=None))
print(json.dumps({
    "before": before,
    "ids": [str(job.pk) for job in (bought, plain, *many, naive)],
    "due": plain.run_at.isoformat(),
}))
"""


def test_in_django_is_in_the_transaction_and_takes_tags(shop: Shop) -> None:
    [orders] = of("Django", "python")
    for name, text in (
        ("settings.py", DJANGO_SETTINGS),
        ("shop/__init__.py", ""),
        ("shop/models.py", DJANGO_MODELS),
        ("shop/orders.py", orders),
        ("main.py", DJANGO_MAIN),
    ):
        shop.write(name, text)

    printed = shop.run(sys.executable, "main.py")

    assert printed["before"] == 0
    assert shop.orders == 1
    assert [str(job) for job in shop.jobs] == sorted(printed["ids"])
    bought, plain, *_, naive = map(UUID, printed["ids"])
    assert is_an_hour(shop.waits(bought))
    assert shop.waits(plain) == timedelta(0)
    assert datetime.fromisoformat(printed["due"])
    assert shop.tags(bought, plain) == [None, ["vip", "a, b"]]
    # The trap: UTC's time of day, taken for New York's.
    assert shop.waits(naive) > timedelta(hours=3)


SQLALCHEMY_MAIN = """
import json
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

engine = create_engine("postgresql+psycopg2://")
with engine.connect() as connection:
    thank(connection, "nobody@example.com")
    connection.rollback()
with Session(engine) as session:
    thank_by_orm(session, "nobody@example.com")
    session.rollback()
with engine.begin() as connection:
    connection.execute(text("INSERT INTO orders (email) VALUES ('ann@example.com')"))
    by_core = thank(connection, "ann@example.com")
with Session(engine) as session:
    by_orm = thank_by_orm(session, "ann@example.com")
    session.commit()
with engine.begin() as connection:
    statement = insert(job).values(
        kind="send_email", payload={}, run_at=datetime.now(UTC).replace(tzinfo=None))
    naive = connection.execute(statement).inserted_primary_key.id
    statement = insert(job).values(kind="send_email", payload={}, tags=["vip", "a, b"])
    tagged = connection.execute(statement).inserted_primary_key.id
print(json.dumps({"ids": [str(each) for each in (by_core, by_orm, naive, tagged)],
                  "most": engine.pool.size() + engine.pool._max_overflow}))
"""


def test_in_sqlalchemy_is_in_the_transaction_by_core_and_orm_and_takes_tags(shop: Shop) -> None:
    core, orm = of("SQLAlchemy", "python")
    shop.write("main.py", core, orm, SQLALCHEMY_MAIN)

    printed = shop.run(sys.executable, "main.py")

    by_core, by_orm, naive, tagged = map(UUID, printed["ids"])
    assert shop.jobs == sorted([by_core, by_orm, naive, tagged])
    assert shop.tags(by_core, tagged) == [None, ["vip", "a, b"]]
    assert shop.orders == 1
    assert is_an_hour(shop.waits(by_core))
    assert shop.waits(by_orm) == timedelta(0)
    assert shop.waits(naive) > timedelta(hours=3)
    # As docs/database.md counts them.
    assert printed["most"] == 15


NODE_MAIN = """
const { Client, Pool } = require("pg");

async function main() {
  const client = new Client();
  await client.connect();
  const id = await buy(client, "ann@example.com");
  const query = client.query.bind(client);
  client.query = (text, values) =>
    text.includes("haulier.job") ? Promise.reject(new Error("lost")) : query(text, values);
  await buy(client, "nobody@example.com").catch(() => undefined);
  client.query = query;
  const naive = new Date().toISOString().replace("Z", "");
  await client.query("SET TIME ZONE 'America/New_York'");
  const { rows } = await client.query(
    "INSERT INTO haulier.job (kind, payload, run_at) VALUES ('send_email', '{}', $1) RETURNING id", [naive]);
  await client.end();
  console.log(JSON.stringify({ ids: [id, rows[0].id], most: new Pool().options.max }));
}
main();
"""


@pytest.mark.clients
def test_in_node_is_in_the_transaction_of_the_applications_own_rows(shop: Shop) -> None:
    shop.write("main.js", *of("Node", "js"), NODE_MAIN)

    printed = shop.run("node", "main.js")

    bought, naive = map(UUID, printed["ids"])
    assert shop.jobs == [bought, naive]
    assert shop.orders == 1
    assert is_an_hour(shop.waits(bought))
    assert shop.waits(naive) > timedelta(hours=3)
    assert printed["most"] == 10


RAILS_HEAD = """
require "active_support/all"
require "active_record"

Time.zone_default = Time.find_zone!("America/New_York")
ActiveRecord.default_timezone = :utc
ActiveRecord::Base.time_zone_aware_attributes = true
# As in an application whose load_defaults is 7.0 or later.
ActiveRecord::Base.partial_inserts = false
ActiveRecord::Base.establish_connection(adapter: "postgresql")

class Order < ActiveRecord::Base
end
"""
RAILS_MAIN = """
Order.transaction do
  buy("nobody@example.com")
  raise ActiveRecord::Rollback
end
before = Order.count
job = buy("ann@example.com")
plain = HaulierJob.create!(kind: "send_email", payload: {})
puts({ before: before, ids: [job.id, plain.id], most: ActiveRecord::Base.connection_pool.size }.to_json)
"""


@pytest.mark.clients
def test_in_rails_is_in_the_transaction_of_the_applications_own_rows(shop: Shop) -> None:
    shop.write("main.rb", RAILS_HEAD, *of("Rails", "ruby"), RAILS_MAIN)

    printed = shop.run("ruby", "main.rb")

    bought, plain = map(UUID, printed["ids"])
    assert printed["before"] == 0
    assert shop.jobs == [bought, plain]
    assert shop.orders == 1
    assert is_an_hour(shop.waits(bought))
    assert shop.waits(plain) == timedelta(0)
    assert printed["most"] == 5


def test_is_there_for_each_client_and_each_is_run() -> None:
    fences = re.findall(r"^```(\w+)$", text_of(PAGE), re.M)

    assert sorted(fences) == ["js", "python", "python", "python", "ruby", "sql"]
    assert blocks(PAGE, "sql") == of("psql, and any other client", "sql")
