"""gunicorn's settings, each with its reason; used by gunicorn.conf.py in a checkout, by `haulier web` in a wheel."""

from __future__ import annotations

import os

from .http.gunicorn import limits
from .http.gunicorn.hooks import (  # noqa: F401  # gunicorn takes every name for a setting
    BUFFERS,
    address,
    child_exit,
    logger_class,
    on_starting,
    settings,
    stop,
)

# PORT set means that a platform runs this, whose router connects from outside; otherwise only this machine may call.
bind = address()
# Threads, because a request mostly waits for Postgres. The threads of gunicorn's own class also wait for slow clients.
worker_class = f"{__package__}.http.gunicorn.buffering.BufferingWorker" if BUFFERS else "gthread"
# 500, or as many as the limit of open files leaves; beyond that, the slowest connections are closed.
worker_connections = limits.connections(limits.open_files(settings.web_threads), settings.web_threads)
if worker_connections < limits.LEAST_CONNECTIONS + settings.web_threads:
    stop("a process may open too few files for WEB_THREADS: raise the limit (ulimit -n), usually to 1024")
# The parser that the tests run with. By default gunicorn uses a faster one wherever that happens to be installed.
http_parser = "python"
# No header may set where the path begins: by default SCRIPT_NAME does, and every path that does not fit is then a 500.
forwarder_headers = ""
# Our own calls need a line of 200 bytes and ten headers; routers and tracing add theirs.
limit_request_line, limit_request_fields, limit_request_field_size = 4094, 64, 8190
# Two by default, so that the service survives the death of one; a platform sets WEB_CONCURRENCY by its memory.
workers = settings.web_concurrency
# Each thread may need a connection: 2 x 3, with 4 of each worker, fit a plan of 20.
threads = settings.web_threads
# Each process loads the application itself, after the fork: a connection must not be shared across a fork.
preload_app = False
# Longer than routers keep idle connections (Heroku's 90 s): otherwise a router may send on one that is being closed.
keepalive = 95
# For a process, not a request: a worker whose main loop is silent for this long hangs. Routers give up after 30 s.
timeout = 30
# Below the 30 s after which a platform kills; requests under way finish.
graceful_timeout = max(1, int(settings.shutdown_seconds))
# The heartbeat file in memory: on a slow disk gunicorn killed a healthy process that could not write its file in time.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
# Off: there is one control socket for each user of the machine, and two services would take it from each other.
control_socket_disable = True
# Behind a platform's router every request comes from the router, whose address is not known before. Elsewhere only
# this machine is believed about the client's address and scheme.
forwarded_allow_ips = "*" if "DYNO" in os.environ or "RENDER" in os.environ else "127.0.0.1,::1"
# 0 is no limit: replaced processes would leave their counts on disk, and every scrape reads them (200 of them: 390 ms).
max_requests = 0
