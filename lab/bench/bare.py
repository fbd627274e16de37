"""The least that a Flask view does to store a job, to compare `POST /jobs` with: `gunicorn lab.bench.bare:app`."""

from __future__ import annotations

import json
import os
import threading

import psycopg2
from flask import Flask, Response, request
from psycopg2.extensions import connection as Connection

# What Haulier's API sends for one job without a key, with the defaults that it fills in.
INSERT = """
    INSERT INTO haulier.job (kind, payload, queue, priority, max_attempts)
    VALUES (%s, %s::jsonb, 'default', 0, 3)
    RETURNING id, status, created_at, run_at
"""

app = Flask(__name__)
mine = threading.local()


def connection() -> Connection:
    """Return this thread's connection, in autocommit mode."""
    if not hasattr(mine, "conn"):
        mine.conn = psycopg2.connect(os.environ["DATABASE_URL"])
        mine.conn.autocommit = True
    conn: Connection = mine.conn
    return conn


@app.post("/jobs")
def enqueue() -> Response:
    """Store a job and return it."""
    asked = request.get_json()
    with connection().cursor() as cursor:
        cursor.execute(INSERT, (asked["kind"], json.dumps(asked["payload"])))
        stored = cursor.fetchone()
    assert stored is not None
    job_id, status, created_at, run_at = stored
    answer = {"id": job_id, "status": status, "created_at": created_at.isoformat(), "run_at": run_at.isoformat()}
    return Response(json.dumps(answer), status=201, mimetype="application/json")


@app.get("/health")
def health() -> Response:
    """Answer, so that a caller knows that the process runs."""
    return Response("{}", mimetype="application/json")
