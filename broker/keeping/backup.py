"""`hoofbeat backup`: a copy of a store, made while its broker runs.

Exit status: 0 it is made and on the disk, 1 it could not be made, 2 it cannot begin as asked.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from broker.commands.line import DONE, FAILED, Parser, complain
from broker.keeping.apart import apart
from broker.keeping.place import add_store, find_store, tools_of
from broker.options import OptionsError
from broker.store import StoreError
from broker.store.tools import NoStore, Tools


def main(words: list[str]) -> int:
    """Make it; return the exit status."""
    parsed = parser().parse_args(words)
    directory = Path(parsed.directory)
    try:
        url = find_store(parsed).store_url
        tools, path = tools_of(url)
        if directory.exists() and any(directory.iterdir()):
            return complain(f"{directory} is not empty: a backup is given a directory of its own")
    except (OptionsError, StoreError) as error:
        return complain(str(error))
    except OSError as error:
        return complain(f"cannot use {directory}: {error.strerror}")
    return apart(attempt(lambda: backup(tools, url, path, directory)), url)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="hoofbeat backup",
        description="Copy what a broker has stored, as it is at this moment; the broker goes on meanwhile.",
    )
    made.add_argument("directory", metavar="DIR", help="an empty directory, made if need be")
    add_store(made)
    return made


def backup(tools: Tools, url: str, path: str, directory: Path) -> None:
    """Copy a store, and see that the copy opens. Raises `StoreError`."""
    copied = tools.copy(path, directory)
    with closing(tools.look(copied)) as look:
        stored = look.load()
    records = sum(sum(queue.lanes.values()) for queue in stored.queues)
    print(f"{url.partition(':')[0]}:{copied} has {len(stored.queues)} queues, {records} records")


def attempt(work: Callable[[], None]) -> Callable[[], int]:
    """Return work that ends with an exit status, and with a line about what went wrong."""

    def attempted() -> int:
        try:
            work()
        except NoStore as error:
            return complain(str(error))
        except StoreError as error:
            return complain(str(error), FAILED)
        return DONE

    return attempted
