"""The examples of docs/testing-calls.md, as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from rpc.testing.faults import WHAT

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "testing-calls.md").read_text(encoding="utf-8")


def test_the_examples(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == PAGE.count("```python")
    for name, text in examples:
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "6 passed" in done.stdout, done.stdout + done.stderr


def test_every_frame_has_its_name_on_the_page() -> None:
    assert set(re.findall(r'^\| `"(\w+)"` \|', PAGE, re.MULTILINE)) == set(WHAT)
