"""gunicorn reads this file from the working directory; the settings are where a package has them too."""

from app.gunicorn_settings import *  # noqa: F403  # gunicorn takes every name for a setting
