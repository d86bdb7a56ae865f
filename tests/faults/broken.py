"""`hoofbeat run` with a defect, to see that the fault tests are able to fail.

    python -m tests.faults.broken NAME[,NAME…] run --port 0 …

A defect changes one thing in the process that it runs in and nothing else. `clock=FILE` is none: it makes the
system's clock one that a test can set (`tests.faults.clocks`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import lmdb

import broker.connection as connections
import broker.core.lane as lanes
import broker.core.subscription as subscriptions
from broker import cli, client
from broker.connection import Connection
from broker.core.broker import Broker
from broker.core.journal import Journal
from broker.core.message import Message
from broker.net import wall
from broker.stomp import Limits
from broker.stomp.session import Session
from broker.store import Writes
from broker.store.lmdb import LMDBStore
from broker.turn import Turn
from tests.faults.clocks import obey

DEFECTS: dict[str, Callable[[], None]] = {}
EVERY = 50  # of what a forgetful broker forgets, one


def defect(change: Callable[[], None]) -> Callable[[], None]:
    """Put a function that breaks the broker into the table; its name is that of the defect."""
    DEFECTS[change.__name__.replace("_", "-")] = change
    return change


def put(owner: Any, name: str, value: Any) -> None:
    """Replace something."""
    assert hasattr(owner, name), f"{owner} has no {name}: this defect must be written anew"
    setattr(owner, name, value)


@defect
def receipt_early() -> None:
    """What is promised is said at once, not when it is on disk."""
    put(
        Turn,
        "promise",
        lambda self, connection, data, last=False: self._keep((connection, data, last)),
    )


@defect
def no_sync() -> None:
    """A commit returns before the disk has it."""
    really = lmdb.open
    put(lmdb, "open", lambda *args, **options: really(*args, **options | {"sync": False}))


@defect
def no_metasync() -> None:
    """A commit returns when the disk has all but the page that says so."""
    really = lmdb.open
    put(lmdb, "open", lambda *args, **options: really(*args, **options | {"metasync": False}))


@defect
def ack_forgotten() -> None:
    """Now and then what was acknowledged stays on disk."""
    really, numbers = Journal.delete, count(1)

    def delete(self: Journal, queue: int, message: Message) -> None:
        if self.holds(message.seq) or next(numbers) % EVERY:
            really(self, queue, message)

    put(Journal, "delete", delete)


@defect
def delivered_is_done() -> None:
    """What was handed to a consumer is not on disk any more."""
    really = subscriptions.Subscription.__init__

    def make(self: Any, queue: Any, mode: str, prefetch: int, deliver: Any, *more: Any) -> None:
        def deliver_and_forget(message: Message) -> str:
            if message.durable:
                queue.broker.journal.delete(queue.number, message)
                message.durable = False
            return str(deliver(message))

        really(self, queue, mode, prefetch, deliver_and_forget, *more)

    put(subscriptions.Subscription, "__init__", make)


@defect
def crash_forgotten() -> None:
    """After a crash nothing is said to have been delivered before."""
    really = Broker.load

    def load(self: Broker, kept: Any, read: Any) -> None:
        really(self, kept, read)
        self.suspect_before = 0

    put(Broker, "load", load)


@defect
def error_ignored() -> None:
    """A disk that fails is no reason to end."""
    really = LMDBStore.write

    def write(self: LMDBStore, batch: Writes) -> None:
        try:
            really(self, batch)
        except (lmdb.Error, OSError):
            return

    put(LMDBStore, "write", write)


@defect
def never_full() -> None:
    """There is always room on the disk."""
    put(LMDBStore, "room", lambda self: 1 << 60)


@defect
def written_in_the_turn() -> None:
    """Everybody waits for the disk."""
    put(LMDBStore, "blocking", False)


@defect
def all_in_memory() -> None:
    """A backlog is kept in memory."""
    put(lanes, "WINDOW", 1 << 60)
    put(lanes, "WINDOW_BYTES", 1 << 60)


@defect
def no_back_pressure() -> None:
    """Whoever does not read is sent more all the same."""
    put(Connection, "unsent", lambda self, size: None)
    put(Turn, "check_pressure", lambda self, connection: None)


@defect
def silence_is_life() -> None:
    """A client that sends no heart-beats is not given up."""
    put(Session, "is_dead", lambda self, now: False)


@defect
def heart_beats_by_the_wall() -> None:
    """What must not depend on the clock on the wall does."""
    put(time, "monotonic", lambda: time.time())


@defect
def day_by_the_system() -> None:
    """The time of day jumps with the system's clock."""
    put(wall.Wall, "__call__", lambda self: time.time())


@defect
def timers_by_the_wall() -> None:
    """Twisted's timers are left as they are."""
    put(wall, "steady_timers", lambda reactor: None)


@defect
def no_limits() -> None:
    """A frame may be as large as it likes."""
    for which in ("before_login", "after_login"):
        put(connections, which, lambda options: Limits(*[sys.maxsize] * 5))


@defect
def numbers_unchecked() -> None:
    """A header that is no number is a fault of ours."""
    for name, module in list(sys.modules.items()):
        if name.startswith("broker.") and getattr(module, "number", None) is client_number:
            put(
                module,
                "number",
                lambda headers, name, default, meaning: unchecked(headers, name, default),
            )


client_number = client.number


def unchecked(headers: Any, name: str, default: int) -> int:
    """Return a header's number, or fail in Python's own way."""
    return int(headers[name]) if name in headers else default


def main(names: str, *arguments: str) -> int:
    """Break what is named, then be the broker."""
    import broker.service  # noqa: F401  # all of it is there before it is broken

    for name in names.split(","):
        name, _, argument = name.partition("=")
        if name == "clock":
            obey(argument)
        elif name:
            DEFECTS[name]()
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
