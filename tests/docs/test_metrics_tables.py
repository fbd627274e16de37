"""The tables of metrics and alerts in docs/watch.md are those of the program."""

from __future__ import annotations

import re

import prometheus_client

from app.api import build
from haulier.config import Config
from haulier.worker.metrics import counts as worker_metrics
from tests.docs.reading import names_in, section, tables, text_of


def test_every_metric_is_documented_and_no_other(config: Config) -> None:
    app = build(config)
    app.test_client().get("/health")
    exposed = app.test_client().get("/metrics").text
    app.extensions["haulier"].database.close()

    real = set(re.findall(r"^# HELP (\w+)", exposed, flags=re.MULTILINE))
    # Only there while a worker lives.
    real.add("haulier_oldest_beat_seconds")
    collectors = [
        each for each in vars(worker_metrics).values() if isinstance(each, prometheus_client.metrics.MetricWrapperBase)
    ]
    for family in (family for each in collectors for family in each.collect()):
        real.add(f"{family.name}_total" if family.type == "counter" else family.name)

    documented = [names_in(row[0])[0] for row in tables(section("docs/watch.md", "## Metrics")) if len(row) == 3]
    assert sorted(documented) == sorted(real)


def test_pages_and_alerts_name_metrics_that_exist() -> None:
    known = {names_in(row[0])[0] for row in tables(section("docs/watch.md", "## Metrics")) if len(row) == 3}

    conditions = " ".join(row[2] for row in tables(section("docs/watch.md", "## Alerts")))
    alerts = {name.removesuffix("_count") for name in re.findall(r"\b(?:haulier|worker|flask)_\w+", conditions)}
    pages = {
        page: set(re.findall(r"`((?:haulier|worker)_\w+)`", text_of(page)))
        for page in ("docs/why-waiting.md", "docs/deploy.md")
    }

    assert len(alerts) > 5
    assert all(pages.values())
    assert alerts.union(*pages.values()) - known == set()
