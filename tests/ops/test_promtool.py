"""promtool, of Prometheus itself, on the alerts and the dashboard of ops/: it ..."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.docs.reading import ROOT
from tests.ops.reading import RULES, SCENES, alerts, dashboard_expressions

pytestmark = pytest.mark.alerts


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program, "needs promtool: `make test-alerts` installs it on Debian"
    return subprocess.run([program, *words], cwd=ROOT, capture_output=True, text=True, timeout=100)


def write(file: Path, rules: list[dict[str, Any]]) -> None:
    # JSON is YAML too.
    file.write_text(json.dumps({"groups": [{"name": "haulier", "rules": rules}]}), encoding="utf-8")


def test_finds_no_fault_with_the_rules() -> None:
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"SUCCESS: {len(alerts())} rules found" in checked.stdout


def test_sees_each_alert_fire_in_its_scene_and_not_elsewhere() -> None:
    tested = promtool("test", "rules", SCENES)

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_would_see_that_an_alert_no_longer_fires(tmp_path: Path) -> None:
    scenes = shutil.copy(ROOT / SCENES, tmp_path)

    unseen = []
    for name in alerts():
        silenced = [{**rule, "expr": "vector(1) == 2"} if rule["alert"] == name else rule for rule in alerts().values()]
        write(tmp_path / Path(RULES).name, silenced)
        tested = promtool("test", "rules", str(scenes))
        if tested.returncode != 1 or f"alertname: {name}" not in tested.stdout + tested.stderr:
            unseen.append(name)

    assert unseen == []


def test_reads_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": expression} for n, expression in enumerate(dashboard_expressions())]
    file = tmp_path / "dashboard.rules.yml"
    write(file, rules)

    checked = promtool("check", "rules", str(file))

    assert checked.returncode == 0, checked.stdout + checked.stderr
