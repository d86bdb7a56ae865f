"""The guide "write a store in an hour" keeps its word: its example is installed and passes the contract."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "write-a-store.md"


def block(language: str) -> str:
    """Return the guide's first block of code in a language."""
    code, *_ = re.findall(
        rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE
    )
    return str(code)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Install the example as the guide says, as far as Python looks; return an environment with it."""
    config = configparser.ConfigParser()
    config.read_string(block("ini"))
    module = config["options"]["py_modules"]
    site = tmp_path / "site"
    metadata = site / f"{module}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / f"{module}.py").write_text(block("python"))
    (metadata / "METADATA").write_text(f"Name: {config['metadata']['name']}\nVersion: 1.0\n")
    points = config["options.entry_points"]["hoofbeat.stores"]
    (metadata / "entry_points.txt").write_text(f"[hoofbeat.stores]\n{points.strip()}\n")
    return os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}


def test_the_example_passes_the_contract(environment: dict[str, str]) -> None:
    [url] = re.findall(r"--store '(.+)'", GUIDE.read_text())
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/store/test_contract.py", "--store", url],
        cwd=ROOT,
        env=environment | {"PYTEST_ADDOPTS": "-p no:cacheprovider"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) > 70


def test_the_example_is_named_among_the_drivers(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "broker", "run", "--port", "0", "--store", "unknown:x"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "drivers here: lmdb, memory, sql, sqlite" in done.stderr


def test_what_a_driver_without_tools_can_do(environment: dict[str, str], tmp_path: Path) -> None:
    def hoofbeat(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "broker", *words],
            cwd=tmp_path,
            env=environment,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )

    lines = """
        {"type":"hoofbeat","format":1,"version":"0.1.0","node":"c0ffee00","boot":3,"next_seq":9,"clean":true,"written":""}
        {"type":"queue","number":1,"name":"orders","lanes":{"4":1}}
        {"type":"record","queue":"orders","priority":4,"seq":7,"headers":{"message-id":"m-7"},"body":"hello"}
        {"type":"end"}
    """
    given = lines.replace("\n        ", "\n").strip() + "\n"
    made = hoofbeat("import", "--store", "sql:own/queues.db", given=given)
    assert (made.returncode, made.stderr) == (0, "")
    seen = hoofbeat("check", "--store", "sql:own/queues.db")
    assert (seen.returncode, seen.stderr) == (0, "")
    assert "its driver has no tools" in seen.stdout
    assert "1 messages in queues\nwhole\n" in seen.stdout
    exported = hoofbeat("export", "--store", "sql:own/queues.db").stdout
    assert exported.splitlines()[1:] == given.splitlines()[1:]
    again = hoofbeat("import", "--store", "sql:own/queues.db", given=given)
    assert (again.returncode, "there is a store already" in again.stderr) == (2, True)
    for words in (("backup", "copy"), ("compact",)):
        refused = hoofbeat(*words, "--store", "sql:own/queues.db")
        assert refused.returncode == 2
        assert "the driver sql has no tools for this" in refused.stderr


def test_the_example_has_complete_types(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(tmp_path / "site" / "hoofbeat_sql.py")],
        cwd=ROOT,
        env=os.environ | {"MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
