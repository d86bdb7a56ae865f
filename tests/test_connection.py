"""A connection without a socket: what stays of it when it is gone."""

from __future__ import annotations

import weakref

from broker.agenda import Agenda
from broker.arriving import LARGE, Arriving
from broker.connection import LOOK_EVERY, Connection
from broker.core.broker import Broker
from broker.options import Options
from broker.reception import Host
from broker.store import StoreSettings
from broker.store.memory import MemoryStore
from broker.store.writer import InlineWriter
from broker.turn import Turn
from tests.outside import outside


class Socket:
    """Takes everything, hears nothing."""

    def write(self, data: bytes) -> None:
        """Take it."""

    def pause_reading(self) -> None:
        """Nothing comes anyway."""

    resume_reading = close = abort = pause_reading


def failed(error: BaseException) -> None:
    raise error


def make_turn(broker: Broker, agenda: Agenda) -> Turn:
    """Return a turn that has begun."""
    store = MemoryStore(StoreSettings())
    turn = Turn(
        broker,
        store,
        lambda: InlineWriter(store, failed),
        agenda,
        2**20,
        0.0,
        lambda call: None,
        failed,
    )
    turn.begin(0.0, 0.0)
    return turn


def test_a_link_that_is_gone_is_forgotten_however_rare_its_heart_beats_were() -> None:
    """Whoever agrees on a heart-beat in some months, and leaves, costs nothing until then."""
    agenda = Agenda(lambda when: None)
    broker, options = Broker(outside()), Options()
    turn = make_turn(broker, agenda)
    connection = Connection(Host(broker, turn, options, b"m-", agenda), "session", Socket())
    connection.data(b"CONNECT\naccept-version:1.2\nheart-beat:9999999999,9999999999\n\n\0")
    turn.end()
    connection.lost()
    gone = weakref.ref(connection)
    del connection
    assert gone() is not None
    agenda.run(LOOK_EVERY + options.connect_timeout)
    assert gone() is None


def test_a_large_frame_is_not_too_slow_while_nobody_reads_it() -> None:
    """Whoever was paused, and goes on just before it is looked at, has the whole time again."""
    agenda = Agenda(lambda when: None)
    broker, options = Broker(outside()), Options()
    turn = make_turn(broker, agenda)
    connection = Connection(
        Host(broker, turn, options, b"m-", agenda),
        "session",
        Socket(),
        arriving=Arriving(options.max_arriving),
    )
    connection.data(b"CONNECT\naccept-version:1.2\n\n\0SEND\ndestination:/queue/a\n\n")
    connection.data(b"x" * 2 * LARGE)
    connection.pause_reading()
    connection.resume_reading()
    agenda.run(options.frame_timeout)
    assert not connection.closing
    agenda.run(2 * options.frame_timeout)
    assert connection.closing  # it did not grow
