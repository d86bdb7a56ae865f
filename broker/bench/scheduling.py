"""Scheduled messages that are all due in one moment: how fast they come then, none before, none twice.

Each SEND asks for the delay that is left until the moment, so all are due when it has come. They wait in the
broker; a consumer subscribes before the moment, so that one that is delivered too early shows.

How long a broker takes to take them is found out by a rehearsal; a slow one gets as many as it takes in
`LONGEST` seconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from broker.bench.checks import AnyOrder, MeasurementError, Unsupported, bodies_match
from broker.bench.numbered import DIGITS, PLACE, Numbered, number
from broker.bench.order import Order, measure
from broker.bench.reqrep import acknowledge
from broker.bench.stream import Stream, Traffic, send_frame
from broker.bench.timing import Latencies, Result
from broker.bench.wire import Address, Link, Loop, subscription

DELAY = b"~~~~~~"  # stands in a SEND where its delay goes, in milliseconds
REHEARSED = 1000  # messages at most
SHORTEST, LONGEST = 1.0, 30.0  # seconds for sending them
MARGIN = 1.0  # seconds between the last SEND and the moment: all are taken, the consumer is there
SPARE = 1.5  # times the time that sending them takes by the rehearsal
# A broker reads its clock in whole milliseconds, and perhaps once for all that it has just received.
EARLY = 0.01  # seconds


@dataclass(frozen=True)
class Scheduled(Traffic):
    """Messages that are due at a moment."""

    due: float = 0.0  # by `time.perf_counter`

    def frames(self) -> Numbered:
        """Return the SENDs, with a place for the delay."""
        lines = f"receipt:{PLACE.decode()}\nAMQ_SCHEDULED_DELAY:{DELAY.decode()}\n"
        return Numbered(send_frame(self.destination, True, self.body_pattern(), lines))


class Sender(Stream):
    """Sends until `MARGIN` before the moment at the latest."""

    def __init__(self, loop: Loop, address: Address, traffic: Scheduled, total: int) -> None:
        super().__init__(loop, address, traffic, total)
        self.due = traffic.due

    def turn(self, sending: bool) -> bool:
        """Send a batch, if there is still time."""
        if time.perf_counter() > self.due - MARGIN:
            self.total = self.sent
        return super().turn(sending)

    def cut(self, start: int, stop: int) -> bytes:
        """Return the frames with the delay that is left now."""
        left = self.due - time.perf_counter()
        delay = b"%0*d" % (len(DELAY), int(left * 1000) + 1)
        return super().cut(start, stop).replace(DELAY, delay)


class Arrivals:
    """A consumer of scheduled messages: each comes once, none too early; the latencies are the delays."""

    def __init__(self, loop: Loop, address: Address, traffic: Scheduled, total: int) -> None:
        self.latencies = Latencies(1)
        self.done = 0
        self.total = total
        self.due = traffic.due
        self.rest = traffic.body_pattern()[DIGITS:]
        self.check = AnyOrder("scheduled messages")
        self.check.expect([number(value) for value in range(total)])
        self.link = Link(address, "consumer")
        # Without a receipt: if the broker did not keep them, they come at once.
        self.link.say("SUBSCRIBE", subscription(traffic.destination, traffic.ack))
        self.link.take = self.take
        self.size = -traffic.body
        loop.add(self.link)

    def take(self, frames: list[bytes], whole: bytes) -> None:
        """Check a batch of messages."""
        late = time.perf_counter() - self.due
        if late < -EARLY:
            raise MeasurementError(f"a message came {-late:.3f} s before its time")
        bodies = [frame[self.size :] for frame in frames]
        numbers = [body[:DIGITS] for body in bodies]
        if not bodies_match(numbers, bodies, self.rest):
            raise MeasurementError(f"a message came with a wrong body: {whole[:400]!r}")
        self.check.take(numbers)
        acknowledge(self.link, whole, len(frames))
        self.latencies.seen += [late] * len(frames)
        self.done += len(frames)

    def turn(self, sending: bool) -> bool:
        """Nothing is to be sent."""
        return False

    def missing(self) -> str:
        """Say what has not come yet."""
        return self.check.missing(self.total)


def schedule(order: Order, results: list[Result]) -> None:
    """Measure how fast scheduled messages come once they are due."""
    check_ability(order.address, order.destination("queue", ".asked"))
    rehearsal = perform(order, Result(""), ".rehearsal", min(REHEARSED, order.backlog), SHORTEST)
    sending = SHORTEST + SPARE * order.backlog / rehearsal.rate
    taken = perform(order, results[0], "", order.backlog, min(LONGEST, sending))
    results[0].note = f"{taken.operations:,} taken at {taken.rate:,.0f}/s"


def perform(order: Order, result: Result, name: str, total: int, sending: float) -> Result:
    """Send up to `total` messages in at most `sending` seconds and await them; return how they were taken.

    Raises `MeasurementError`.
    """
    due = time.perf_counter() + sending + MARGIN
    traffic = Scheduled(
        order.destination("queue", name), receipts=True, consumers=0, due=due, **order.settings
    )
    taken = Result("")
    sender = measure(order, taken, lambda loop: Sender(loop, order.address, traffic, total))
    left = due - time.perf_counter()
    if left < 0:
        raise MeasurementError(f"it took them {-left:.1f} s too late")
    measure(
        order,
        result,
        lambda loop: Arrivals(loop, order.address, traffic, sender.sent),
        begin_at=due,
    )
    return taken


def check_ability(address: Address, destination: str) -> None:
    """Ask with one message whether the broker keeps scheduled ones. Raises `Unsupported` if not."""
    link = Link(address, "")
    link.subscribe(destination)
    sender = Link(address, "")
    begun = time.perf_counter()
    delay = {"AMQ_SCHEDULED_DELAY": f"{SHORTEST * 1000:.0f}"}
    sender.ask("SEND", {"destination": destination, "persistent": "true"} | delay)
    link.next_frame()
    waited = time.perf_counter() - begun
    sender.close()
    link.close()
    if waited < SHORTEST / 2:
        raise Unsupported(
            "it does not keep scheduled messages:"
            f" one that was due after {SHORTEST:g} s came after {waited:.2f} s"
        )
