"""How many calls a message costs inside the broker: exact, whatever the machine does meanwhile.

    python -m tests.bench.calls

The broker's own rooms between the bytes of a chunk and the bytes for the socket, without Twisted and
without a disk; `sys.setprofile` counts the calls of Python functions and of C functions.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

from broker.agenda import Agenda
from broker.connection import Connection
from broker.core.broker import Broker
from broker.options import Options
from broker.reception import Host
from broker.stomp import Frame
from broker.store import StoreSettings
from broker.store.memory import MemoryStore
from broker.store.writer import InlineWriter
from broker.turn import Turn
from tests.outside import outside

CHUNK = 64  # messages that arrive together


class Sink:
    """A socket that takes everything."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def pause_reading(self) -> None:
        raise AssertionError("nothing here is slow")

    resume_reading = close = abort = pause_reading


class House:
    """A broker without Twisted: a producer, a consumer, one turn at a time."""

    def __init__(self, ack: str) -> None:
        store = MemoryStore(StoreSettings())
        broker = Broker(outside())
        self._agenda = Agenda(lambda when: None)
        self.turn = Turn(
            broker,
            store,
            lambda: InlineWriter(store, self._failed),
            self._agenda,
            2**30,
            0.0,
            lambda call: None,
            self._failed,
        )
        self._broker = broker
        self.producer, self.consumer = self._connect(), self._connect()
        subscribe = Frame("SUBSCRIBE", {"destination": "/queue/a", "id": "1", "ack": ack})
        self.consumer.data(subscribe.encode("1.2"))
        self.end_turn()

    def end_turn(self) -> None:
        self.turn.end()
        self.turn.begin(1.0, 1.0)

    def _connect(self) -> Connection:
        self.turn.begin(1.0, 1.0)
        connection = Connection(
            Host(self._broker, self.turn, Options(), b"hoof-0-1-", self._agenda), "session", Sink()
        )
        connection.data(Frame("CONNECT", {"accept-version": "1.2", "host": ""}).encode("1.0"))
        self.end_turn()
        return connection

    @staticmethod
    def _failed(error: BaseException) -> None:
        raise error


def plain(house: House) -> None:
    """The same headers again and again, not stored, acknowledged as sent."""
    headers = {"destination": "/queue/a", "persistent": "false", "content-length": "100"}
    house.producer.data(Frame("SEND", headers, b"x" * 100).encode("1.2") * CHUNK)
    house.end_turn()


def request(house: House) -> None:
    """A request each, with a correlation-id of its own."""
    house.producer.data(
        b"".join(
            Frame(
                "SEND",
                {
                    "destination": "/queue/a",
                    "reply-to": "/queue/b",
                    "correlation-id": str(number),
                    "persistent": "false",
                    "content-length": "100",
                },
                b"x" * 100,
            ).encode("1.2")
            for number in range(CHUNK)
        )
    )
    house.end_turn()


class Durable:
    """Stored, with a RECEIPT for each SEND and an ACK for each MESSAGE."""

    def __init__(self) -> None:
        self.acknowledged = 0

    def __call__(self, house: House) -> None:
        house.producer.data(
            b"".join(
                Frame(
                    "SEND",
                    {"destination": "/queue/a", "receipt": str(number), "content-length": "100"},
                    b"x" * 100,
                ).encode("1.2")
                for number in range(CHUNK)
            )
        )
        house.end_turn()
        first = self.acknowledged + 1
        self.acknowledged += CHUNK
        house.consumer.data(
            b"".join(
                Frame("ACK", {"id": f"1-{number}"}).encode("1.2")
                for number in range(first, first + CHUNK)
            )
        )
        house.end_turn()


ROWS: dict[str, tuple[str, Callable[[], Callable[[House], None]]]] = {
    "plain": ("auto", lambda: plain),
    "request": ("auto", lambda: request),
    "durable": ("client-individual", Durable),
}


def count_calls(row: str) -> tuple[float, float]:
    """Return calls of Python and of C functions per message, the encoding of the input included not."""
    ack, make = ROWS[row]
    house, step = House(ack), make()
    step(house)  # the first of a kind does more
    calls: Counter[str] = Counter()

    # The input is encoded by Frame.encode; the broker does not use it for messages.
    def profile(frame: FrameType, event: str, argument: Any) -> None:
        room = frame.f_globals["__name__"]
        ours = room.startswith("broker.") and (
            room != "broker.stomp.frame" or frame.f_code.co_name == "__init__"
        )
        if ours and event in ("call", "c_call"):
            calls[event] += 1

    sys.setprofile(profile)
    try:
        step(house)
    finally:
        sys.setprofile(None)
    return calls["call"] / CHUNK, calls["c_call"] / CHUNK


def measure_time(row: str, rounds: int = 200) -> float:
    """Return the best microseconds per message, the encoding of the input included."""
    ack, make = ROWS[row]
    house, step = House(ack), make()
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        step(house)
        best = min(best, time.perf_counter() - start)
    return best / CHUNK * 1e6


if __name__ == "__main__":
    for name in ROWS:
        python, c = count_calls(name)
        print(f"{name:8} {python:5.1f} Python calls {c:5.1f} C calls {measure_time(name):6.1f} µs")
