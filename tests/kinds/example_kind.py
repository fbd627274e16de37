from marshmallow import fields

from haulier.kinds import Fail, JobContext, PayloadSchema, kind


class Greeting(PayloadSchema):
    name = fields.String(required=True)


@kind("greet", schema=Greeting, timeout=30)
def greet(context: JobContext, payload: dict) -> dict:
    if payload["name"] == "nobody":
        raise Fail("there is nobody to greet")  # for good; any other exception is tried again
    context.wait(0.1)  # wakes at once, and ends the run, when the job is to stop
    return {"greeting": f"Hello, {payload['name']}!"}
