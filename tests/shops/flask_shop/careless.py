"""Kinds whose handlers leave transactions behind, of SQLAlchemy and of psycopg2."""

import os
import threading

import psycopg2
from database import Order, Session
from marshmallow import fields

from haulier.kinds import PayloadSchema, kind

HELD = []
local = threading.local()
INSERT = "INSERT INTO shop_order (email, thanked) VALUES (%s, true)"


class Way(PayloadSchema):
    way = fields.String(required=True)


class Nothing(PayloadSchema):
    pass


def session_orders():
    with Session.begin(), Session.begin_nested():
        yield Session.add(Order(email="lost@example.com"))


def connection():
    """Return the connection of this thread."""
    if not hasattr(local, "connection"):
        local.connection = psycopg2.connect(os.environ["DATABASE_URL"])
    return local.connection


@kind("hold", schema=Way, timeout=30)
def hold(context, payload):
    """Leave a transaction open."""
    if payload["way"] == "session":
        HELD.append(session_orders())
        next(HELD[-1])
    else:
        connection().cursor().execute(INSERT, ["lost@example.com"])


@kind("order", schema=Nothing, timeout=30)
def order(context, payload):
    """Store an order by psycopg2, on the connection of this thread."""
    with connection() as conn, conn.cursor() as cursor:
        cursor.execute(INSERT, ["kept@example.com"])
