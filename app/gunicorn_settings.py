"""gunicorn's settings, a reason on each. By gunicorn.conf.py in a checkout, by `haulier web` where it is installed."""

from __future__ import annotations

import os

from .http.gunicorn import limits
from .http.gunicorn.hooks import (  # noqa: F401  # gunicorn takes every name for a setting
    address,
    child_exit,
    logger_class,
    on_starting,
    settings,
    stop,
)

# PORT means that a platform told us, and its router comes from outside; else only this machine may call.
bind = address()
# Threads, because a request mostly waits for Postgres. gunicorn's own would also wait for slow clients.
worker_class = f"{__package__}.http.gunicorn.buffering.BufferingWorker"
# 500, or as many as the limit of open files leaves; of more, those that take longest are closed.
worker_connections = limits.connections(limits.open_files(settings.web_threads), settings.web_threads)
if worker_connections < limits.LEAST_CONNECTIONS + settings.web_threads:
    stop("a process may open too few files for WEB_THREADS: raise the limit (ulimit -n), 1024 is usual")
# The one that the tests know; a faster one would be taken wherever it happens to be installed.
http_parser = "python"
# No caller says where the path begins: by default the header SCRIPT_NAME does, and makes a 500 of each other path.
forwarder_headers = ""
# Our own calls need a line of 200 bytes and ten headers; routers and tracing add theirs.
limit_request_line, limit_request_fields, limit_request_field_size = 4094, 64, 8190
# Two, so that one that dies is not the service; a platform sets WEB_CONCURRENCY by its dyno's memory.
workers = settings.web_concurrency
# Each thread may need a connection: 2 x 3, with 4 of each worker, fit a plan of 20.
threads = settings.web_threads
# Each process loads the application itself, after the fork: no connection can cross one.
preload_app = False
# A router keeps idle connections (Heroku's for 90 s) and may send on one that we are closing: we close later.
keepalive = 95
# Of the process, not of a request: a thread pool whose main loop is silent this long hangs. A router gives up at 30.
timeout = 30
# Below the 30 s after which a platform kills; requests under way finish.
graceful_timeout = max(1, int(settings.shutdown_seconds))
# The heartbeat file in memory: on a disk that is slow, a healthy process was killed for not writing it.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
# Off: it is one socket for each user of the machine, and two services would take it from each other.
control_socket_disable = True
# Behind a platform's router every request comes from it, at an address not known before; elsewhere nobody's word
# about the client's address and scheme is taken.
forwarded_allow_ips = "*" if "DYNO" in os.environ or "RENDER" in os.environ else "127.0.0.1,::1"
# None: counts of dead processes stay on disk, and every scrape reads them (200 of them: 390 ms).
max_requests = 0
