"""The alerts and the dashboard of ops/ read what service and worker really export; promtool, of Prometheus itself."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from haulier.domain.job import JobStatus
from haulier.local.supervisor import local_session
from tests.conftest import eventually
from tests.docs.reading import ROOT, anchors, names_in, section, tables, text_of
from tests.docs.stack import haulier

RULES, SCENES, DASHBOARD = (
    "ops/prometheus/haulier.rules.yml",
    "ops/prometheus/haulier.test.yml",
    "ops/grafana/haulier.json",
)


def alerts() -> dict[str, dict[str, Any]]:
    """Return each alert's rule by its name."""
    rules = [rule for group in yaml.safe_load(text_of(RULES))["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule for rule in rules}


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard, but for the headings between them."""
    return [panel for panel in json.loads(text_of(DASHBOARD))["panels"] if panel["type"] != "row"]


def dashboard_expressions() -> list[str]:
    """Return the expressions of the dashboard, its variables replaced as Grafana would."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    replaced = (each.replace("$__rate_interval", "5m") for each in found)
    return [re.sub(r"\$(queue|kind)\b", ".*", each) for each in replaced]


def expressions() -> list[str]:
    return [rule["expr"] for rule in alerts().values()] + dashboard_expressions()


def metrics_in(expression: str) -> set[str]:
    """Return the names of the series that the expression reads."""
    return set(re.findall(r"\b(?:haulier|worker|flask)_\w+", expression))


def labels_in(expression: str) -> dict[str, set[str]]:
    """Return the labels by which the expression picks or groups each series that it reads, but for those of Prometheus.

    Nor `cell`, which only the series of a database with a number have. An expression here groups by the same labels
    wherever it groups.
    """
    groups = {label for named in re.findall(r"\bby \(([^)]*)\)", expression) for label in re.findall(r"\w+", named)}
    found: dict[str, set[str]] = {}
    for metric, selector in re.findall(r"\b((?:haulier|worker|flask)_\w+)(\{[^}]*\})?", expression):
        picked = set(re.findall(r'(\w+)\s*[=!]~?"', selector))
        found[metric] = (found.get(metric, set()) | picked | groups) - {"job", "instance", "cell"}
    return found


# Series that are there only once it has happened: how they are labelled cannot be read off.
UNSEEN = {
    "worker_jobs_refused_total": {"statement"},
    "haulier_due_jobs_unserved": {"queue"},
    "haulier_queue_late": {"queue"},
    "haulier_schedule_failures": {"schedule"},
    "worker_ticks_total": {"outcome"},
}
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}

Exported = dict[str, set[str]]


@pytest.fixture
def exported(database: str) -> Iterator[Exported]:
    """Give the series that an API and its worker export once a job has run and one waits, each with its labels."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with haulier(database, WORKER_METRICS_PORT=port) as url, local_session() as session:
        job = {"kind": "summarize_text", "payload": {"text": "The ship came in."}}
        session.post(f"{url}/jobs", json={**job, "delay_seconds": 3600}, timeout=10).raise_for_status()
        session.post(f"{url}/jobs", json=job, timeout=10).raise_for_status()

        def scraped() -> Exported | None:
            found = {**series(f"{url}/metrics"), **series(f"http://127.0.0.1:{port}/metrics")}
            return found if {"haulier_oldest_beat_seconds", "worker_jobs_completed_total"} <= found.keys() else None

        yield eventually(scraped)


def series(url: str) -> Exported:
    """Return the series there; one without a sample so far has no labels to read."""
    found: Exported = {}
    try:
        text = requests.get(url, timeout=10).text
    except (requests.ConnectionError, requests.Timeout):
        return found
    for family in text_string_to_metric_families(text):
        for suffix in SUFFIXES[family.type]:
            if family.name + suffix in UNSEEN:
                found[family.name + suffix] = UNSEEN[family.name + suffix]
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_expression_reads_series_that_are_exported_by_labels_that_they_have(exported: Exported) -> None:
    read = [labels_in(expression) for expression in expressions()]

    assert all(read)
    assert {metric for each in read for metric in each} - exported.keys() == set()
    strange = [(metric, label) for each in read for metric, names in each.items() for label in names - exported[metric]]
    assert strange == []


def test_outcomes_and_states_that_are_picked_exist() -> None:
    picked = re.findall(r'\b(?:outcome|status)[=!]~?"([a-z_|]+)"', " ".join(expressions()))

    assert {"failed_permanent", "queued|retrying"} <= set(picked)
    assert {each for names in picked for each in names.split("|")} <= {str(status) for status in JobStatus}


def test_every_alert_leads_to_its_section_and_is_in_the_table() -> None:
    rows = [row for row in tables(section("docs/watch.md", "## Alerts")) if row[0].startswith("`Haulier")]
    sections = re.findall(r"^### (\w+)$", section("docs/watch.md", "## Alerts"), flags=re.MULTILINE)

    assert len(alerts()) > 10
    assert sections == list(alerts())
    assert [(names_in(row[0])[0], row[1]) for row in rows] == [
        (name, rule["labels"]["severity"]) for name, rule in alerts().items()
    ]
    for name, rule in alerts().items():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert anchor == name.lower()
        assert anchor in anchors(text_of(page))
        assert {"summary", "description"} <= rule["annotations"].keys()
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert len(section(page, f"### {name}").split()) > 25


def test_every_alert_has_a_scene_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    told = [test for scene in yaml.safe_load(text_of(SCENES))["tests"] for test in scene["alert_rule_test"]]

    assert {test["alertname"] for test in told if test["exp_alerts"]} == set(alerts())
    assert {test["alertname"] for test in told if not test["exp_alerts"]} == set(alerts())


def test_the_table_of_alerts_names_the_metrics_of_each_rule() -> None:
    documented = {names_in(row[0])[0]: metrics_in(row[2]) for row in tables(section("docs/watch.md", "## Alerts"))}

    assert len(documented) > 5
    assert documented == {name: metrics_in(rule["expr"]) for name, rule in alerts().items()}


def test_the_dashboard_names_the_alerts_that_exist_and_its_panels_stand_beside_each_other() -> None:
    named = {name for panel in panels() for name in re.findall(r"Haulier[A-Z]\w+", panel["description"])}
    places: list[dict[str, Any]] = [panel["gridPos"] for panel in panels()]

    assert len(dashboard_expressions()) > 20
    assert len(named) > 5
    assert named <= set(alerts())
    assert len({panel["id"] for panel in panels()}) == len(panels())
    assert all(target["datasource"]["uid"] == "${datasource}" for panel in panels() for target in panel["targets"])
    assert [pair for pair in itertools.combinations(places, 2) if overlap(*pair)] == []
    assert all(place["x"] + place["w"] <= 24 for place in places)


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or below)


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program, "needs promtool: `make test-alerts` installs it on Debian"
    return subprocess.run([program, *words], cwd=ROOT, capture_output=True, text=True, timeout=100)


@pytest.mark.alerts
def test_finds_no_fault_with_the_rules() -> None:
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"SUCCESS: {len(alerts())} rules found" in checked.stdout


@pytest.mark.alerts
def test_sees_each_alert_fire_in_its_scene_and_not_elsewhere() -> None:
    tested = promtool("test", "rules", SCENES)

    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.alerts
def test_reads_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": expression} for n, expression in enumerate(dashboard_expressions())]
    file = tmp_path / "dashboard.rules.yml"
    # JSON is YAML too.
    file.write_text(json.dumps({"groups": [{"name": "haulier", "rules": rules}]}), encoding="utf-8")

    checked = promtool("check", "rules", str(file))

    assert checked.returncode == 0, checked.stdout + checked.stderr
