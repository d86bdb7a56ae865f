"""docs/security.md: its tables name tests that there are, its configurations can be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from broker.options import read_options

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "security.md").read_text(encoding="utf-8")
#: A test as a table names it: its file or folder in tests/, or a function of the file named before it.
NAMED = re.compile(r"`((?:\w+/)*(?:test_\w+|malformed)\.py|(?:\w+/)+)`|`(test_\w+)`")


def rows() -> list[str]:
    """Return the last cell of each row of the tables that name tests."""
    tables = re.findall(r"^\|.*\| test(?: in `tests/`)? \|\n\|[-|]+\n((?:\|.*\n?)+)", PAGE, re.M)
    return [row.split(" | ")[-1].strip(" |") for table in tables for row in table.splitlines()]


def test_the_tests_that_it_names_exist() -> None:
    found = 0
    for cell in rows():
        source = ""
        for path, function in NAMED.findall(cell):
            if path:
                assert (TESTS / path).exists(), path
                source = "" if path.endswith("/") else (TESTS / path).read_text(encoding="utf-8")
            else:
                assert f"def {function}(" in source, function
            found += 1
    assert found > 80


@pytest.mark.parametrize("example", re.findall(r"^```toml\n(.*?)^```$", PAGE, re.M | re.S))
def test_its_configurations(example: str) -> None:
    read_options(example, "docs/security.md")
