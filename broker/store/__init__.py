"""Where durable queues live: the interface of a store, and how one is opened by its URL.

A store knows names, numbers and bytes; never messages, never STOMP. It has four verbs (`load`, `read`,
`write`, `close`) and one number (`room`). Group commit, threads and the order of promises are not its
business: `broker.store.writer` calls `write` with one batch at a time, from one thread.

What is kept are *records*, in lanes (one queue, one priority), and *marks*: small values under keys of their
own, for what the core must know about itself. A record's `seq` is any number from 0 to 2**63-1. No two
records in the whole store have the same one at the same time, not even while a batch is being written, and
the core sees to that. Mostly numbers grow in the order of arrival, but a lane may be in another order (that of
times at which messages are due), so a record may be put anywhere between others.

A driver is chosen by the scheme of the URL. Those here are known by name; others are found among the
entry points of the group `hoofbeat.stores`, so that any package can bring one: docs/write-a-store.md.
`tests/store/test_contract.py` is the suite that every driver passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: What comes with the broker: scheme → module:function. Not asked of the entry points, because reading the
#: metadata of everything that is installed takes a tenth of the start.
DRIVERS = {
    "lmdb": "broker.store.lmdb:open_lmdb",
    "memory": "broker.store.memory:open_memory",
    "sqlite": "broker.store.sqlite:open_sqlite",
}
STORES = "hoofbeat.stores"  # group of entry points: scheme = module:function(path, settings)
#: The key of a mark that is there while a store is being filled by `hoofbeat import`: no broker begins with it.
UNFINISHED = b"unfinished import"


class StoreError(Exception):
    """The store cannot be opened or used, in one line for the operator."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What an operator may set about any store."""

    map_size: int = 64 * 1024**3  # bytes: the largest the store may grow
    disk_reserve: int = 256 * 1024**2  # bytes of free disk that producers may not use up
    #: Of a store that is made now; one that is there keeps its own.
    node: str = ""  # its name; empty: one that no other has
    boot: int = 0  # starts that it has had


@dataclass(frozen=True, slots=True)
class StoredQueue:
    """What the store holds of one queue, without having looked at its records."""

    number: int
    name: str
    lanes: dict[int, int] = field(default_factory=dict)  # priority → records


@dataclass(frozen=True, slots=True)
class Stored:
    """What was there at the start."""

    node: str  # names this store for ever, so that message ids of two stores never meet
    boot: int  # counts the starts, from 1
    next_seq: int  # as the last batch said; 1 before the first
    clean: bool  # the last run ended with `close`
    queues: list[StoredQueue] = field(default_factory=list)
    marks: dict[bytes, bytes] = field(default_factory=dict)


class Writes(Protocol):
    """One batch, as `Store.write` gets it: sequences of numbers, names and bytes."""

    @property
    def next_seq(self) -> int:
        """The next number to be given in the order of arrival; records in another order may have higher ones."""

    @property
    def queues(self) -> Sequence[tuple[int, str]]:
        """New queues: number, name."""

    @property
    def dropped(self) -> Sequence[int]:
        """Numbers of empty queues to forget."""

    @property
    def puts(self) -> Sequence[tuple[int, int, int, bytes, bytes]]:
        """New records: queue, priority, seq, meta, tail."""

    @property
    def updates(self) -> Sequence[tuple[int, int, int, bytes, bytes]]:
        """Records whose meta changed, written like puts; never one that is not there."""

    @property
    def deletes(self) -> Sequence[tuple[int, int, int, int]]:
        """Records to delete: queue, priority, seq, length of the tail."""

    @property
    def marks(self) -> Sequence[tuple[bytes, bytes | None]]:
        """Values to keep until they are written anew: key, value; None forgets, also what is not there.

        Keys have 1 to 400 bytes, values 0 bytes to 1 MB, mostly under 60 KB. No key comes twice in a batch.
        """


class Store(Protocol):
    """Keeps the journal's promises."""

    #: True when `write` blocks on a disk and belongs into a thread.
    blocking: bool

    def load(self) -> Stored:
        """Return what is there, all marks and no records, and begin a new run durably."""

    def read(
        self, queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        """Return records (seq, meta, tail) of a lane with seq > `after`, in order of seq, as last committed.

        `after` is -1 for the beginning. At most `count` of them and, after the first, only as long as their tails have at most `size`
        bytes together. Called from another thread than `write`, also while it runs.
        """

    def write(self, batch: Writes) -> None:
        """Make one batch durable, all of it or nothing; return only once it would survive a power cut.

        In the order queues, puts, updates, deletes, dropped; marks at any time. An exception ends the broker.
        """

    def room(self) -> int:
        """Return how many bytes of new records can be taken without endangering deletes."""

    def close(self) -> None:
        """End the run: what was loaded next is `clean`."""


def open_store(url: str, settings: StoreSettings) -> Store:
    """Open the store of a URL such as `lmdb:./data`, `sqlite:./hoof.db` or `memory:`.

    Raises `StoreError` for an unknown scheme, a path that cannot be used, a store that another broker
    uses, or files of an unknown format.
    """
    scheme, _, path = url.partition(":")
    if scheme in DRIVERS and ":" in url:
        module, _, function = DRIVERS[scheme].partition(":")
        open_driver = getattr(import_module(module), function)
    else:
        open_driver = find_entry(url).load()
    store: Store = open_driver(path, settings)
    return store


def find_entry(url: str) -> EntryPoint:
    """Return the entry point of a driver that is not ours. Raises `StoreError`."""
    from importlib.metadata import entry_points

    others = {point.name: point for point in entry_points(group=STORES)}
    scheme, colon, _ = url.partition(":")
    if not colon or scheme not in others:
        names = ", ".join(sorted({*DRIVERS, *others}))
        raise StoreError(f"unknown store {url!r}: a store is DRIVER:PATH, drivers here: {names}")
    return others[scheme]
