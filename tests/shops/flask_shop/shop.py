"""A shop of Flask and SQLAlchemy: POST /orders takes an order, and has its customer thanked."""

from database import Order, Session
from flask import Flask, jsonify, request
from sqlalchemy import insert

from haulier.contrib.sqlalchemy import job

app = Flask(__name__)


@app.post("/orders")
def buy():
    """Take an order, and enqueue a job in the same transaction."""
    order = Order(email=request.form["email"])
    Session.add(order)
    Session.flush()
    row = insert(job).values(kind="thank", payload={"order_id": order.id}, tags=["shop"]).returning(job.c.id)
    job_id = Session.scalar(row)
    Session.commit()
    return jsonify(order=order.id, job=str(job_id)), 201


@app.teardown_appcontext
def _end_session(error):
    Session.remove()
