"""A broker in memory: the real core and the real connections, the test's clock, no sockets.

One `House` is one run of a broker; the store outlives it, as a disk would.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from twisted.internet.interfaces import IDelayedCall

from broker.agenda import Agenda
from broker.connection import Connection, Transport
from broker.core.broker import Broker, Outside
from broker.core.policy import Policies
from broker.cron import next_cron
from broker.filters import make_filter
from broker.options import Options
from broker.reception import Host
from broker.rights import Rights
from broker.store.memory import MemoryStore
from broker.store.writer import InlineWriter
from broker.tail import annotate, rename
from broker.turn import Turn
from rpc.testing.clock import Clock


class House:
    """A broker that runs."""

    def __init__(self, clock: Clock, store: MemoryStore, options: Options) -> None:
        """Take over what is in the store. Raises `broker.errors.Refusal` for composites that make no sense."""
        self.options = options
        self._clock = clock
        self._store = store
        self._timer: IDelayedCall | None = None
        self._sessions = count(1)
        self._ended = False
        stored = store.load()
        self._name = f"hoof-test-{stored.boot}"
        self._id_prefix = f"{self._name}-".encode()
        self._agenda = Agenda(self._wake_at)
        self._broker = Broker(
            Outside(
                annotate,
                make_filter,
                next_cron,
                lambda tail, seq: rename(tail, b"%b%d" % (self._id_prefix, seq)),
                self._wake_schedule_at,
            ),
            policies=Policies(options.policies),
            memory_limit=options.memory_limit,
            max_redeliveries=options.max_redeliveries,
        )
        self._broker.now = int(clock.wall() * 1000)
        self._broker.load(stored, store.read)
        self._broker.routes.compose(options.composites)
        self._turn = Turn(
            self._broker,
            store,
            lambda: InlineWriter(store, _failed),
            self._agenda,
            options.journal_bytes,
            options.journal_delay,
            self._soon,
            _failed,
        )
        self._host = Host(
            self._broker,
            self._turn,
            options,
            self._id_prefix,
            self._agenda,
            rights=Rights(options.rights, options.administrators, options.is_open),
        )
        self._sweeping = clock.every(options.sweep_every, self._sweep)

    def begin(self) -> None:
        """Begin a turn: something has come."""
        self._turn.begin(self._clock.seconds(), self._clock.wall())

    def connect(self, transport: Transport) -> Connection:
        """A client has come."""
        self.begin()
        return Connection(
            self._host,
            f"{self._name}-{next(self._sessions)}",
            transport,
            self.options.dialect_named(self.options.dialect),
        )

    def stop(self) -> None:
        """End in order, once nobody is heard any more: everything is written, every promise kept."""
        self.begin()
        self._turn.finish()
        self._store.close()
        self.kill()

    def kill(self) -> None:
        """End in the middle of whatever it was."""
        self._ended = True
        self._clock.no_longer(self._sweeping)

    def _soon(self, call: Callable[[], None]) -> None:
        self._clock.callLater(0, self._unless_ended, call)

    def _unless_ended(self, call: Callable[[], None]) -> None:
        if not self._ended:
            call()

    def _wake_at(self, when: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        wait = max(0.0, when - self._clock.seconds())
        self._timer = self._clock.callLater(wait, self._unless_ended, self._tick)

    def _tick(self) -> None:
        self.begin()
        self._agenda.run(self._clock.seconds())

    def _wake_schedule_at(self, when: int) -> None:
        # A little late: of the moment itself, in seconds, the milliseconds may be one less.
        wait = when / 1000 - self._clock.wall() + 0.0005
        self._agenda.add(self._clock.seconds() + wait, self._tick_schedule)

    def _tick_schedule(self, now: float) -> None:
        self._broker.schedule.tick(self._broker.now)

    def _sweep(self) -> None:
        self.begin()
        self._broker.sweep()


def _failed(error: BaseException) -> None:
    raise error
