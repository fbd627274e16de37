"""The tests of the shop, for pytest."""

from database import Order, Session, engine
from kinds import thank
from shop import app
from sqlalchemy import func, select

from haulier.contrib.sqlalchemy import job, sessions
from haulier.testing import perform


def test_an_order_enqueues_one_job_which_thanks():
    response = app.test_client().post("/orders", data={"email": "ann@example.com"})

    assert response.status_code == 201
    row = Session.execute(select(job.c.id, job.c.payload, job.c.tags)).one()
    assert (str(row.id), row.tags) == (response.json["job"], ["shop"])
    Session.remove()

    # Without a middleware the handler leaves its session in a transaction, and each of these ends it.
    for middleware, left_open in (("", 1), ("haulier.contrib.sqlalchemy:sessions", 0), ("shop_worker:in_app", 0)):
        outcome = perform(thank, row.payload, settings={"HAULIER_MIDDLEWARE": middleware})

        assert outcome.result == {"email": "ann@example.com"}
        assert engine.pool.checkedout() == left_open, middleware
        Session.remove()
    assert Session.get(Order, response.json["order"]).thanked


def test_a_connection_that_dies_in_a_run_fails_neither_this_run_nor_the_next():
    Session.remove()
    with sessions(None):
        pid = Session.scalar(select(func.pg_backend_pid()))
        with engine.begin() as another:
            another.execute(select(func.pg_terminate_backend(pid, 5000)))
    with sessions(None):
        assert Session.scalar(select(1)) == 1
