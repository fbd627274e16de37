"""gunicorn reads this file from the working directory; the settings are in app, so that the wheel has them too."""

from app.gunicorn_settings import *  # noqa: F403  # gunicorn takes every name for a setting
