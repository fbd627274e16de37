"""The section on testing of docs/kinds.md: its files, laid into a folder, run as they are there."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.docs.reading import ROOT, blocks_in, section

PAGE = "docs/kinds.md"


def test_every_test_of_the_page_passes(tmp_path, postgres):
    [kind, *_] = blocks_in(section(PAGE, "## A kind of your own"), "python")
    files = blocks_in(section(PAGE, "## Testing your kinds"), "python")
    (tmp_path / "example_kind.py").write_text(kind)
    for text in files:
        named = re.match(r"# (\w+\.py)\n", text)
        assert named, f"which file is this? {text}"
        (tmp_path / named[1]).write_text(text)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATABASE_URL": postgres},
        capture_output=True,
        text=True,
        timeout=100,
    )

    tests = sum(text.count("def test_") for text in files)
    assert tests == 6
    assert re.search(rf"^{tests} passed in", done.stdout, re.MULTILINE), done.stdout + done.stderr
