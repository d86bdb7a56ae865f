"""What an operator's tools may ask of a driver beside the store itself: a look, a copy, a compaction.

A driver need not have any of it. Whoever brings one names, in the group of entry points `hoofbeat.store_tools`, a
module (or another object) with the functions of `Tools`. None of them begins a run: nothing counts them as a start,
and what they look at stays as it is.

Not here: what the records mean. That is asked of a look by `broker.keeping`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Protocol

from broker.store import DRIVERS, Stored, StoreError, find_entry

#: Of the drivers that come with the broker: scheme → module.
TOOLS = {"lmdb": "broker.store.lmdb_tools", "sqlite": "broker.store.sqlite_tools"}
GROUP = "hoofbeat.store_tools"  # of entry points: scheme = module

#: Starts that a copy is ahead of its original. Ids of messages, and the numbers by which peers know what has come,
#: are made of a start's number: so neither of both ever gives one that the other has given.
AHEAD = 1000


class NoStore(StoreError):
    """There is none at that place, or one that was never more than made."""


class Damaged(StoreError):
    """Something is there, and it is not whole."""


class Look(Protocol):
    """One moment of a store. A broker may have it open, and goes on meanwhile."""

    def load(self) -> Stored:
        """Return what is there, as the last start and the last batch have left it."""

    def read(
        self, queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        """Return the next records of a lane, as `Store.read` does."""

    def faults(self) -> Iterator[str]:
        """Look at all that the driver keeps, to the last byte that it can check; return what is wrong, a line each.

        Records that a `read` cannot find, a tail that cannot be put together, a file that cannot be read.
        """

    def close(self) -> None:
        """Let it go: what is looked at takes room in the store while the broker writes."""


class Tools(Protocol):
    """Functions of a driver's module. `path` is the URL without its scheme. All raise `StoreError`."""

    def look(self, path: str) -> Look:
        """Look at a store as it is now. Raises `NoStore`, `Damaged`."""

    def copy(self, path: str, directory: Path) -> str:
        """Copy a store as it is now into an empty directory, to its disk; return the copy's path.

        All that was committed before is in it. Its next start is `AHEAD` of the original's.
        """

    def compact(self, path: str) -> tuple[int, int]:
        """Make a store's file as small as can be; return its bytes before and after.

        Raises `StoreError` while anybody else has it open. Whenever it is interrupted, the store is whole.
        """


def find_tools(url: str) -> tuple[Tools | None, str]:
    """Return the tools of a URL's driver, None if it has none, and the path. Raises `StoreError` for what is no URL."""
    scheme, colon, path = url.partition(":")
    if colon and scheme in DRIVERS:
        return (import_module(TOOLS[scheme]) if scheme in TOOLS else None), path
    find_entry(url)
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP, name=scheme):
        tools: Tools = point.load()
        return tools, path
    return None, path
