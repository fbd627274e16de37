"""How many connections a web process takes, by how many files it may have open: the rest is for all else it opens."""

from __future__ import annotations

import resource

MOST_CONNECTIONS = 500
# Fewer could not hold a request for each thread, and those that are always left free.
LEAST_CONNECTIONS = 16
# Libraries, logs, listeners, and the counts of all processes, which a scrape reads.
OWN_FILES = 64
# A database connection, and a page's file.
FILES_OF_THREAD = 2


def open_files(threads: int) -> int:
    """Return how many files a process may have open, after raising that as far as it is of use and allowed.

    Beyond 1,024 no further than is needed: what still uses select() cannot see those.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = MOST_CONNECTIONS + OWN_FILES + FILES_OF_THREAD * threads
    if soft < needed and soft != resource.RLIM_INFINITY:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return needed if soft == resource.RLIM_INFINITY else soft


def connections(files: int, threads: int) -> int:
    """Return how many of these files may be connections. Shape: below LEAST_CONNECTIONS + threads it cannot serve."""
    return min(MOST_CONNECTIONS, files - OWN_FILES - FILES_OF_THREAD * threads)
