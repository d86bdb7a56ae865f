"""`hoofbeat compact`: the file of a store becomes as small as what is in it. No broker may have it open.

Exit status: 0 it is compact, 1 it is not and is as it was, 2 it cannot begin as asked.
"""

from __future__ import annotations

import argparse

from broker.commands.line import Parser, complain
from broker.keeping.apart import apart
from broker.keeping.backup import attempt
from broker.keeping.place import add_store, find_store, tools_of
from broker.options import OptionsError
from broker.store import StoreError
from broker.store.tools import Tools


def main(words: list[str]) -> int:
    """Do it; return the exit status."""
    parsed = parser().parse_args(words)
    try:
        url = find_store(parsed).store_url
        tools, path = tools_of(url)
    except (OptionsError, StoreError) as error:
        return complain(str(error))
    return apart(attempt(lambda: compact(tools, path)), url)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="hoofbeat compact",
        description="Make the file of a stopped broker as small as what is in it.",
    )
    add_store(made)
    return made


def compact(tools: Tools, path: str) -> None:
    """Compact a store. Raises `StoreError`."""
    before, after = tools.compact(path)
    print(f"{before} bytes before, {after} after")
