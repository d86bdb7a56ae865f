"""No promise leaves the house before it is on disk.

A turn is one pass of the reactor: everything that arrived is read, then `end` runs once:

1. the journal goes to the writer, unless it is still busy with the last one;
2. every connection that has something to say writes it, all at once;
3. queues that ran low read their next messages from the store.

Promises (a RECEIPT, the goodbye after it) join the journal they belong to and leave when it is durable,
in order. Messages to consumers do not wait: they promise nothing.

A journal without a promise is in no hurry: it waits `journal_delay` seconds for more, because whatever is
consumed and acknowledged meanwhile need never be written.

Backpressure: a connection that sends while more than `journal_bytes` wait for the disk is not read from
until the next batch is written. The kernel then slows its client down; others do not notice.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import methodcaller
from typing import TYPE_CHECKING, Protocol

from broker.client import Stamp
from broker.core.broker import Broker
from broker.core.each import for_each

if TYPE_CHECKING:
    from broker.agenda import Agenda
    from broker.store import Store
    from broker.store.writer import Writer


class Hearer(Protocol):
    """A connection, as the turn knows it."""

    def say(self, data: bytes) -> None:
        """Add to what it is told at the end of the turn."""

    def flush(self) -> None:
        """Write what it is told."""

    def close(self) -> None:
        """Say what is left, then hang up."""

    def pause_reading(self) -> None:
        """Take nothing from its client for now."""

    def resume_reading(self) -> None:
        """Go on."""


#: Who hears it, what, and whether it is the last thing they hear.
Promise = tuple[Hearer, bytes, bool]

FLUSH = methodcaller("flush")  # a connection writes what it has to say


class Turn:
    """Carries the journal to the disk and the answers to the sockets, once a turn."""

    def __init__(
        self,
        broker: Broker,
        store: Store,
        start_writer: Callable[[], Writer],
        agenda: Agenda,
        journal_bytes: int,
        journal_delay: float,
        call_soon: Callable[[Callable[[], None]], object],
        store_failed: Callable[[BaseException], None],
    ) -> None:
        """`call_soon` runs a callable once everything that is ready has been read.

        `journal_bytes` may wait for the disk before producers do, and `journal_delay` seconds nothing
        promised; `store_failed` ends the broker: nothing may be promised any more.
        """
        self.broker = broker
        self.dirty: list[Hearer] = []  # those who have something to say
        self.now = 0.0  # monotonic seconds, as of this turn
        self.stamp = Stamp()  # the same, for messages
        self.begun = False  # by somebody who brought the time
        self._ending = False  # `end` will run soon
        self._over = False  # the store may be closed by now
        self._store = store
        self._writer = start_writer()
        self._agenda = agenda
        self._journal_bytes = journal_bytes
        self._journal_delay = journal_delay
        self._due: float | None = None  # when a journal without a promise must be written
        self._awaited = False  # the agenda holds a check for that
        self._call_soon = call_soon
        self._store_failed = store_failed
        self._promises: list[Promise] = []  # that the journal must make true
        self._on_the_way: list[Promise] | None = None  # the same of what is being written
        self._paused: list[Hearer] = []  # not read from until the disk has caught up
        broker.journal.set_room(store.room())
        self._room = broker.journal.room  # as of the last check for pressure

    def begin(self, now: float, wall: float) -> None:
        """Begin a turn, or go on with the one begun. `now` is monotonic, `wall` since 1970."""
        if not self.begun:
            self.begun = True
            self.now = now
            self.broker.now = today = int(wall * 1000)
            self.stamp.line = b"\ntimestamp:%d\n" % today
            self._go_on()

    def promise(self, connection: Hearer, data: bytes, last: bool = False) -> None:
        """Say this to a client once everything done so far is durable."""
        self._promises.append((connection, data, last))

    def check_pressure(self, connection: Hearer) -> None:
        """Stop reading from a client that has just added to what waits for the disk, if it is too much.

        Whoever adds nothing is heard: consumers acknowledge, calls that are not stored go on.
        """
        journal = self.broker.journal
        before, self._room = self._room, journal.room
        if journal.room < before and journal.waiting > self._journal_bytes:
            connection.pause_reading()
            self._paused.append(connection)

    def end(self) -> None:
        """End the turn."""
        self.begun = self._ending = False
        broker = self.broker
        if self._over:
            self._flush()
            return
        if self._on_the_way is None and (
            self._promises or self._paused or broker.starving or self._is_due()
        ):
            self._write()
        try:
            self._flush()
            if broker.blocked:
                broker.relieve()
            if broker.again and not self._disk_is_behind():
                broker.go_on(self._read)
        finally:
            if (
                self.dirty
                or (broker.again and not self._disk_is_behind())
                # Else nobody would write what these wait for.
                or ((self._promises or broker.starving) and self._on_the_way is None)
            ):
                self._go_on()

    def _disk_is_behind(self) -> bool:
        """Tell whether backlogs must wait: what is being written will bring another turn."""
        return self._on_the_way is not None and self.broker.journal.crowded

    def finish(self) -> None:
        """The broker stops: write all there is and keep every promise. Blocks until it is done.

        From now on the store is left alone.
        """
        self._over = True
        try:
            self._writer.stop()
            if self.broker.journal:
                self._store.write(self.broker.take())
        except Exception as error:
            self._store_failed(error)
            raise
        self._keep_promises([*(self._on_the_way or []), *self._promises])
        self._promises, self._on_the_way = [], None
        self._flush()

    def _flush(self) -> None:
        dirty, self.dirty = self.dirty, []
        for_each(dirty, FLUSH)

    def _read(
        self, queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        try:
            return self._store.read(queue, priority, after, count, size)
        except Exception as error:
            self._store_failed(error)
            raise

    def _go_on(self) -> None:
        """Let `end` run soon. It is no turn of its own: whoever comes before it brings the time."""
        if not self._ending:
            self._ending = True
            self._call_soon(self.end)

    def _is_due(self) -> bool:
        """Tell whether a journal without a promise has waited long enough."""
        if not self.broker.journal:
            self._due = None
            return False
        if self.broker.journal.room < self._journal_bytes:
            return True  # the store is nearly full: what was consumed makes room only once it is written
        if self._due is None:
            self._due = self.now + self._journal_delay
            if not self._awaited:
                self._awaited = True
                self._agenda.add(self._due, self._check_due)
        return self.now >= self._due

    def _check_due(self, now: float) -> float | None:
        """The agenda has begun a turn; say whether another moment must be awaited."""
        if self._due is not None and now < self._due:
            return self._due
        self._awaited = False
        return None

    def _write(self) -> None:
        self._due = None
        promises, self._promises = self._promises, []
        if self.broker.journal:
            self._on_the_way = promises
            self._writer.write(self.broker.take(), self._written)
        else:
            self.broker.nothing_to_write()
            self._keep_promises(promises)
            self._resume()

    def _written(self) -> None:
        """The writer has made a batch durable."""
        if self._on_the_way is None:
            return  # `finish` was faster
        promises, self._on_the_way = self._on_the_way, None
        self.broker.journal.set_room(self._store.room())
        self._room = self.broker.journal.room
        self.broker.written()
        self._resume()
        self._go_on()
        self._keep_promises(promises)

    def _resume(self) -> None:
        """Hear again who had to wait for the disk."""
        paused, self._paused = self._paused, []
        for connection in paused:
            connection.resume_reading()

    def _keep_promises(self, promises: list[Promise]) -> None:
        for_each(promises, self._keep)

    @staticmethod
    def _keep(promise: Promise) -> None:
        connection, data, last = promise
        connection.say(data)
        if last:
            connection.close()
