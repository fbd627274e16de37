from contextlib import contextmanager

from shop import app


@contextmanager
def in_app(context):
    with app.app_context():
        yield
