"""The page about the commands names every one of them, with all of its options, and no other."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from broker.cli import MODULES

PAGE = (Path(__file__).parent.parent.parent / "docs" / "commands.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
OURS = [
    name
    for name, (module, _) in MODULES.items()
    if module.startswith(("broker.angel.", "broker.commands.", "broker.keeping."))
]
EVERYWHERE = {"--help", "--url", "--no-wait"}  # told once; and what undoes an option


def test_every_command_has_a_section_and_a_row() -> None:
    assert set(SECTIONS) == {"run", "settings", *MODULES}
    assert set(re.findall(r"^\| \[`hoofbeat (\w+)`\]\(#\1\)", PAGE, re.MULTILINE)) == set(SECTIONS)


@pytest.mark.parametrize("command", OURS)
def test_every_option_is_on_the_page(command: str) -> None:
    parser = importlib.import_module(MODULES[command][0]).parser()
    options = {
        option
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--")
    }
    written = set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", SECTIONS[command]))
    assert written - EVERYWHERE == options - EVERYWHERE
