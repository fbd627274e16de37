"""Reads the alerts and the dashboard of ops/."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from tests.docs.reading import text_of

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
    """Return every expression of ops/."""
    return [rule["expr"] for rule in alerts().values()] + dashboard_expressions()


def metrics_in(expression: str) -> set[str]:
    """Return the names of the series that the expression reads."""
    return set(re.findall(r"\b(?:haulier|worker|flask)_\w+", expression))


def labels_in(expression: str) -> dict[str, set[str]]:
    """Return the labels by which the expression picks or groups each series that it reads, but for those of Prometheus.

    An expression here groups by the same labels wherever it groups.
    """
    groups = {label for named in re.findall(r"\bby \(([^)]*)\)", expression) for label in re.findall(r"\w+", named)}
    found: dict[str, set[str]] = {}
    for metric, selector in re.findall(r"\b((?:haulier|worker|flask)_\w+)(\{[^}]*\})?", expression):
        picked = set(re.findall(r'(\w+)\s*[=!]~?"', selector))
        found[metric] = (found.get(metric, set()) | picked | groups) - {"job", "instance"}
    return found
