"""The page about settings says what the program does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from broker.core.policy import Policy
from broker.dialect import DIALECTS, Dialect
from broker.options import Options, read_options, settings_file
from broker.setting import settings_of

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"


def rows_of(cells: Iterable[Iterable[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def shown(value: object) -> str:
    """Return a value as the page shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{value}`" if value else "–"


def dialect_rows() -> str:
    """Return the table of dialects: a difference a row."""
    return rows_of(
        [each.metadata["meaning"], *(shown(getattr(d, each.name)) for d in DIALECTS.values())]
        for each in fields(Dialect)
    )


def policy_rows() -> str:
    """Return the table of what a section for destinations may say."""
    return rows_of(
        [
            f"`{name}`",
            str(each.default).lower() if isinstance(each.default, bool) else f"{each.default}",
            each.metadata["unit"],
            each.metadata["reason"],
        ]
        for name, each in settings_of(Policy).items()
    )


def test_the_page_shows_every_setting_with_its_default() -> None:
    """docs/settings.md holds exactly what `hoofbeat settings` prints."""
    assert PAGE.read_text().split("```toml\n")[1].split("```")[0] == settings_file()


def test_the_page_shows_every_dialect() -> None:
    assert dialect_rows() in PAGE.read_text()


def test_the_page_shows_every_setting_of_a_destination() -> None:
    assert policy_rows() in PAGE.read_text()


def test_the_printed_file_can_be_used_as_it_is() -> None:
    """Running with the file that `hoofbeat settings` wrote is running with the defaults."""
    assert read_options(settings_file(), "hoofbeat.toml") == Options()


def test_the_examples_on_the_page_can_be_used() -> None:
    examples = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) > 1
    for example in examples:
        read_options(example, "docs/settings.md")
