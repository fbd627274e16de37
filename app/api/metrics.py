"""The metrics for Prometheus: this service's requests, summed over its processes, and the state of the queues."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from flask import Flask, Request, Response, current_app, request
from flask.views import MethodView
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.values import ValueClass
from prometheus_flask_exporter import PrometheusMetrics

from haulier.domain.api_key import Scope
from haulier.domain.errors import DatabaseUnavailable, SchemaMismatch
from haulier.domain.scrape import accepted, labelled
from haulier.queue.health import overview
from haulier.queue.health.overview import MOST_QUEUES, Overview
from haulier.queue.numbers.stats import list_queues
from haulier.queue.schedules.schedule_health import FailureRounds

from ..http.application import App
from ..http.late_queues import with_lateness
from ..http.routes import needs
from ..http.service import connection, service
from .openapi.document import fails
from .reading import Blueprint

# However many servers scrape it, each process asks the database at most once in this time.
OVERVIEW_SECONDS = 5.0
# At most this share of the time goes into the question: a slow answer is kept for longer.
OVERVIEW_SHARE = 1 / 10
# A schedule is reported from this many failures in a row; this many schedules by name, all others together.
MANY_FAILURES, MOST_SCHEDULES = 3, 20
# However many servers scrape it, each process collects at most once in this time, and for this share of the time.
KEPT_SECONDS, KEPT_SHARE = 2.0, 1 / 10
# Fewer than prometheus_client has by default, which is 15: each route, method and status has a line for each of them.
BUCKETS = (0.01, 0.05, 0.25, 1.0, 5.0)
METHODS = {"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"}

blp = Blueprint("metrics", __name__)


class Requests(PrometheusMetrics):  # type: ignore[misc]
    """Counts and times requests; a process that has ended leaves no series of its own behind.

    The exporter makes the metrics, and counts errors that no handler answers. It does not count requests: its hooks
    take four times as long as `count`.
    """

    def __init__(self, app: Flask, registry: CollectorRegistry) -> None:
        super().__init__(None, path=None, group_by=url_rule, registry=registry, buckets=BUCKETS)
        self.init_app(_ForErrors(app))
        made = registry._names_to_collectors
        self._seconds = cast(Histogram, made["flask_http_request_duration_seconds"])
        self._total = cast(Counter, made["flask_http_request_total"])
        self._known: dict[tuple[str, str, str], tuple[Histogram, Counter]] = {}

    def info(self, *_: object, **__: object) -> None:
        """Export nothing: with several processes there would be a series for each process that ever lived."""

    @staticmethod
    def _not_yet_handled(_: str) -> bool:
        """Return False: its hook is not to count the request as well, only what no error handler answers."""
        return False

    def count(self, method: str, rule: str, status: str, seconds: float) -> None:
        """Count a request that has been answered."""
        # A client can make up methods, and each would be a series for ever.
        if method not in METHODS:
            return
        of = method, rule, status
        if of not in self._known:
            labels = {"method": method, "status": status}
            self._known[of] = self._seconds.labels(url_rule=rule, **labels), self._total.labels(**labels)
        duration, total = self._known[of]
        duration.observe(seconds)
        total.inc()


class _ForErrors:
    """The application as far as the exporter gets it."""

    def __init__(self, app: Flask) -> None:
        self.teardown_request = app.teardown_request

    def before_request(self, _: object) -> None:
        """Leave it out."""

    after_request = before_request


class Queues(Collector):
    """The state of queues and workers, read from the database at most once in 5 s and for a tenth of the time.

    Depths are those that a worker has counted; without one they are counted, or estimated, here.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: Overview | None = None
        self._expires = 0.0
        self._failing = Failing()
        self._late: list[str] = []

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges; when the database is away, only the one that says so."""
        known = self._overview()
        yield GaugeMetricFamily(
            "haulier_database_up", "1 if the database answers, else 0.", value=float(known is not None)
        )
        if known is None:
            return
        jobs = GaugeMetricFamily(
            "haulier_jobs", "Live jobs; queues beyond the largest are summed up.", labels=["queue", "status"]
        )
        oldest = GaugeMetricFamily(
            "haulier_oldest_due_job_seconds",
            "How long the oldest due job has waited; 0: no job is due, or the queue is paused.",
            labels=["queue"],
        )
        unserved = GaugeMetricFamily(
            "haulier_due_jobs_unserved",
            "Due jobs of a queue that no live worker serves and that is not paused.",
            labels=["queue"],
        )
        waits: dict[str, float] = {}
        left: dict[str, int] = {}
        for depth in known.depths:
            jobs.add_metric([depth.queue, depth.status], depth.jobs)
            waits[depth.queue] = max(waits.get(depth.queue, 0.0), depth.oldest_due_seconds or 0.0)
            left[depth.queue] = left.get(depth.queue, 0) + depth.unserved
        for queue, seconds in waits.items():
            oldest.add_metric([queue], seconds)
            unserved.add_metric([queue], left[queue])
        yield from (jobs, oldest, unserved, self._late_queues())
        yield GaugeMetricFamily(
            "haulier_paused_queues", "Queues that an operator has paused.", value=known.paused_queues
        )
        yield GaugeMetricFamily(
            "haulier_workers", "Workers with a heartbeat within their lease.", value=known.health.workers
        )
        yield GaugeMetricFamily(
            "haulier_workers_without_scans",
            "Workers that cannot look for new jobs.",
            value=known.health.without_scans,
        )
        if known.health.oldest_beat_seconds is not None:
            yield GaugeMetricFamily(
                "haulier_oldest_beat_seconds",
                "Age of the oldest heartbeat of all workers.",
                value=known.health.oldest_beat_seconds,
            )
        yield GaugeMetricFamily(
            "haulier_history_days_ahead",
            "Days for which history partitions exist; at 0, jobs cannot end.",
            value=known.history_days_ahead,
        )
        yield from self._of_schedules(known)

    def _late_queues(self) -> Metric:
        late = GaugeMetricFamily(
            "haulier_queue_late",
            "1 for each late queue, as in GET /queues; of very many queues, the first by name are looked at.",
            labels=["queue"],
        )
        for queue in self._late:
            late.add_metric([queue], 1.0)
        return late

    def _of_schedules(self, known: Overview) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "haulier_overdue_schedules",
            "Schedules with a tick that has been due for 10 s and is still undecided.",
            value=known.overdue.schedules,
        )
        yield GaugeMetricFamily(
            "haulier_oldest_due_tick_seconds",
            "How long the oldest undecided tick has been due; 0: no tick is due.",
            value=known.overdue.oldest_seconds,
        )
        failed = GaugeMetricFamily(
            "haulier_schedule_failures",
            "Number of consecutive permanent failures of the last jobs of a schedule, if that is 3 or more.",
            labels=["schedule"],
        )
        for schedule, jobs in self._failing.worst():
            failed.add_metric([schedule], jobs)
        yield failed

    def _overview(self) -> Overview | None:
        with self._lock:
            began_at = time.monotonic()
            if began_at >= self._expires:
                self._known = self._ask()
                now = time.monotonic()
                self._expires = now + max(OVERVIEW_SECONDS, (now - began_at) / OVERVIEW_SHARE)
            return self._known

    def _ask(self) -> Overview | None:
        try:
            with connection() as conn:
                self._failing.look(conn)
                queues, _ = list_queues(conn, limit=MOST_QUEUES)
                self._late = [queue.name for queue in with_lateness(conn, queues) if queue.is_late]
                return overview.overview(conn, as_counted=True)
        except (DatabaseUnavailable, SchemaMismatch):
            return None


class Failing(FailureRounds):
    """The schedules whose last jobs failed one after the other."""

    def worst(self) -> list[tuple[str, int]]:
        """Return the schedules with most failures in a row, and the most of all others under the name `other`."""
        many = [(name, jobs) for name, jobs in self.known.items() if jobs >= MANY_FAILURES]
        many.sort(key=lambda each: (-each[1], each[0]))
        # One that is really named so is always among the others.
        named = [each for each in many[:MOST_SCHEDULES] if each[0] != "other"]
        others = [jobs for name, jobs in many if (name, jobs) not in named]
        return [*named, *([("other", max(others))] if others else [])]


@dataclass(frozen=True, slots=True)
class _Kept:
    """What was collected, with its texts by their content types. Units: until is of the monotonic clock."""

    families: Sequence[Metric]
    until: float
    texts: dict[str, bytes] = field(default_factory=dict)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, to those that write them."""
        yield from self.families


class Exposition:
    """The metrics of one application, collected again after some seconds, by one thread at a time."""

    def __init__(self) -> None:
        self.requests = CollectorRegistry()
        self.queues = Queues()
        self._kept = _Kept((), float("-inf"))
        self._lock = threading.Lock()

    def render(self, accept: str | None) -> tuple[bytes, str]:
        """Return the text and its content type. While another thread collects, this is the text from before."""
        encode, content_type = choose_encoder(accepted(accept))
        kept = self._kept
        text = kept.texts.get(content_type)
        if text is not None and (time.monotonic() < kept.until or not self._lock.acquire(blocking=False)):
            return text, content_type
        if text is None:
            self._lock.acquire()
        try:
            return self._written(encode, content_type), content_type
        finally:
            self._lock.release()

    def _written(self, encode: Callable[[Collector], bytes], content_type: str) -> bytes:
        began_at = time.monotonic()
        if began_at >= self._kept.until:
            families = list(self._registry().collect())
            if cell := service().database.cell:
                families = labelled(families, cell)
            now = time.monotonic()
            self._kept = _Kept(families, now + max(KEPT_SECONDS, (now - began_at) / KEPT_SHARE))
        texts = self._kept.texts
        if content_type not in texts:
            texts[content_type] = encode(cast(Collector, self._kept))
        return texts[content_type]

    def _registry(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        # True under gunicorn, whose processes keep their counts in files of one folder.
        if ValueClass._multiprocess:
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        else:
            registry.register(cast(Collector, _Of(self.requests)))
        registry.register(self.queues)
        return registry


class _Of(Collector):
    """A registry, as a collector of another registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            # The `_created` series, which say when each other series began, would double the number of lines. Not
            # disable_created_metrics(), which also counts for the application that mounts this one.
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


def url_rule(of: Request) -> str:
    """Return the route, never the path: a label must have few values."""
    return rule.rule if (rule := of.url_rule) else "none"


def register(app: App) -> None:
    """Count this application's requests."""
    exposition = app.extensions["haulier_metrics"] = Exposition()
    app.count = Requests(app, exposition.requests).count


@blp.route("/metrics", tags=["ops"])
class MetricsView(MethodView):
    """The metrics of the service."""

    @needs(Scope.READ, quiet=True, takes_metrics_token=True, every_queue="the metrics cover every queue")
    @fails(blp)
    @blp.doc(operationId="get_metrics")
    @blp.response(200, {"type": "string"}, content_type="text/plain", description="Prometheus text.")
    def get(self) -> Response:
        """Get the metrics.

        Covers the requests of all web processes, queue depths, the age of the oldest due job, workers and heartbeats.
        """
        exposition: Exposition = current_app.extensions["haulier_metrics"]
        text, content_type = exposition.render(request.headers.get("Accept"))
        return Response(text, content_type=content_type)
