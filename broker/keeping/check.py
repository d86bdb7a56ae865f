"""`hoofbeat check`: whether the data is whole.

Exit status: 0 it is, 1 it is not, 2 it cannot be looked at.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing

from broker.commands.line import DONE, FAILED, USAGE, Parser, complain, in_one_line
from broker.keeping.apart import apart
from broker.keeping.place import add_store, find_store, look_at
from broker.keeping.soundness import Soundness
from broker.options import Options, OptionsError
from broker.store import StoreError
from broker.store.tools import Damaged, Look, find_tools

MOST = 1000  # faults that are told one by one


def main(words: list[str]) -> int:
    """Look; return the exit status."""
    parsed = parser().parse_args(words)
    try:
        options = find_store(parsed)
    except OptionsError as error:
        return complain(str(error))
    return apart(lambda: check(options), options.store_url)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="hoofbeat check",
        description="Read all that a broker has stored, and tell whether it is whole. Nothing is changed,"
        " and a broker may be running.",
    )
    add_store(made)
    return made


def check(options: Options) -> int:
    """Look at a store; print what was seen; return the exit status."""
    try:
        look = look_at(options)
    except Damaged as error:
        print(in_one_line(f"wrong: {error}"))
        return conclude(1)
    except StoreError as error:
        return complain(str(error), USAGE)
    found = 0
    with closing(look):
        print(in_one_line(f"looking at {options.store_url}"))
        if find_tools(options.store_url)[0] is None:
            print("its driver has no tools: counts, records and marks are looked at, and no more")
        soundness = Soundness(look)
        for fault in all_faults(look, soundness):
            found += 1
            if found <= MOST:
                print(in_one_line(f"wrong: {fault}"), flush=True)
    if found > MOST:
        print(f"and {found - MOST} more")
    for what, count in sorted(soundness.counts.items()):
        print(f"{count} {what}")
    return conclude(found)


def all_faults(look: Look, soundness: Soundness) -> Iterator[str]:
    """Return what is wrong: what the driver sees, then what makes no sense."""
    for faults in (look.faults, soundness.faults):
        try:
            yield from faults()
        except Exception as error:  # a driver's own words, about what it cannot read
            yield f"the rest cannot be read: {type(error).__name__} {error}"


def conclude(found: int) -> int:
    """Print the verdict; return the exit status."""
    print(f"not whole: {found} faults" if found > 1 else "not whole" if found else "whole")
    return FAILED if found else DONE
