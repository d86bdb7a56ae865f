"""Messages in one direction: a producer, and none, one or several consumers.

Covers plain messages, topics, durable messages with receipt and acknowledgement, filling a queue (no
consumer) and draining it (no producer). Every message carries its number as the beginning of its body;
each consumer must get every number once, in order. Receipts may come in any order.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from broker.bench.checks import AnyOrder, Check, InOrder, MeasurementError
from broker.bench.numbered import DIGITS, PLACE, Numbered, filler, number
from broker.bench.reqrep import acknowledge
from broker.bench.timing import Latencies
from broker.bench.wire import Address, Link, Loop
from broker.stomp import Frame

RECEIPT = re.compile(rb"\nreceipt-id:([0-9]{10})\n")
SEND_BYTES = 64 * 1024  # a turn sends no more, so that the consumers are read in between
SAMPLE_EVERY = 8
LARGE = 4096  # bytes of a body from which copying it costs more than looking at it alone
TOPIC_PREFETCH = 32766  # ActiveMQ drops a topic's messages beyond the prefetch and 1000 more


@dataclass(frozen=True)
class Traffic:
    """What kind of messages go where."""

    destination: str
    body: int = 100  # bytes
    durable: bool = False
    receipts: bool = False  # ask for a RECEIPT for each SEND
    ack: str = "auto"
    consumers: int = 1
    window: int = 10_000  # messages that may be under way

    def frames(self) -> Numbered:
        """Return the SENDs."""
        receipt = f"receipt:{PLACE.decode()}\n" if self.receipts else ""
        return Numbered(send_frame(self.destination, self.durable, self.body_pattern(), receipt))

    def body_pattern(self, key: bytes = b"") -> bytes:
        """Return the body as a pattern for `Numbered`: its number, a key, and letters."""
        return PLACE + key + filler(self.body - DIGITS - len(key))


def send_frame(destination: str, durable: bool, body: bytes, lines: str = "") -> bytes:
    """Return a SEND; `lines` are further headers."""
    persistent = "true" if durable else "false"
    head = (
        f"destination:{destination}\n{lines}persistent:{persistent}\ncontent-length:{len(body)}\n"
    )
    return b"SEND\n%b\n%b\0" % (head.encode(), body)


class Taker(Protocol):
    """A connection that takes messages, and what it finds out about them."""

    @property
    def link(self) -> Link:
        """The connection."""

    @property
    def check(self) -> Check:
        """What must come, and has come."""


class Consumer:
    """One subscription, checked message by message."""

    def __init__(self, load: Stream | Drain, link: Link, traffic: Traffic) -> None:
        self.load = load
        self.link = link
        self.size = -traffic.body
        self.acks = traffic.ack != "auto"
        self.check = InOrder("messages", Numbered(traffic.body_pattern()))
        link.take = self.take

    def take(self, frames: list[bytes], whole: bytes) -> None:
        """Check a batch of messages."""
        size = self.size
        if size < -LARGE:
            for frame in frames:
                self.check.take_large(frame)
        else:
            self.check.take([frame[size:] for frame in frames])
        if self.acks:
            acknowledge(self.link, whole, len(frames))
        self.load.came(len(frames))


def subscribed(load: Stream, address: Address, name: str, traffic: Traffic) -> Consumer:
    """Return a consumer of the destination."""
    link = Link(address, name)
    topic = traffic.destination.startswith("/topic/")
    link.subscribe(traffic.destination, traffic.ack, TOPIC_PREFETCH if topic else 1000)
    return Consumer(load, link, traffic)


#: Connects a consumer under a name, and subscribes it.
Connect = Callable[["Stream", Address, str, Traffic], Taker]


class Stream:
    """A producer that keeps `window` messages under way to its consumers."""

    def __init__(
        self,
        loop: Loop,
        address: Address,
        traffic: Traffic,
        total: int | None = None,
        connect: Connect = subscribed,
    ) -> None:
        """`total`: how many messages there are; None means as many as the time allows."""
        self.latencies = Latencies(SAMPLE_EVERY)
        self.done = 0
        self.sent = 0
        self.traffic = traffic
        self.total = total
        self.receipts = AnyOrder("receipts") if traffic.receipts and not address.copies else None
        self.consumers: list[Taker] = []
        names = [f"consumer{index}" for index in range(traffic.consumers)]
        for name in names:
            consumer = connect(self, address, name, traffic)
            loop.add(consumer.link)
            self.consumers.append(consumer)
        self.producer = Link(address, "producer", tuple(names))
        if self.receipts is not None:
            self.producer.take = partial(self.take_receipts, self.receipts)
        loop.add(self.producer)
        self.frames = traffic.frames()
        self.batch = max(1, SEND_BYTES // self.frames.size)

    def turn(self, sending: bool) -> bool:
        """Send a batch if the socket has taken the last one and the window allows it."""
        if not sending or not self.producer.idle:
            return False
        start = self.sent
        limit = self.settled() + self.traffic.window
        if self.total is not None:
            limit = min(limit, self.total)
        stop = min(start + self.batch, limit)
        if stop <= start:
            return False
        self.sent = stop
        if self.receipts is not None:
            self.receipts.expect([number(value) for value in range(start, stop)])
            self.latencies.sent(start, stop)
        self.producer.send(self.cut(start, stop))
        return stop < limit

    def cut(self, start: int, stop: int) -> bytes:
        """Return the frames that leave now."""
        return self.frames.slice(start, stop)

    def settled(self) -> int:
        """Return how many messages have been through all they must go through."""
        done = [consumer.check.settled for consumer in self.consumers]
        if self.receipts is not None:
            done.append(self.receipts.settled)
        return min(done)

    def came(self, count: int) -> None:
        """Note deliveries."""
        if self.receipts is None:
            self.done += count
        else:
            self.done = self.settled()

    def take_receipts(self, check: AnyOrder, frames: list[bytes], whole: bytes) -> None:
        """Check a batch of receipts."""
        numbers = RECEIPT.findall(whole)
        if len(numbers) != len(frames):
            raise MeasurementError(f"something came among the receipts: {whole[:200]!r}")
        check.take(numbers)
        self.latencies.came(numbers)
        self.done = self.settled()

    def missing(self) -> str:
        """Say what has not come yet."""
        total = self.sent if self.total is None else self.total
        checks = [consumer.check.missing(total) for consumer in self.consumers]
        if self.receipts is not None:
            checks.append(self.receipts.missing(total))
        return "; ".join(filter(None, checks))


class Drain:
    """A consumer that takes `total` messages out of a queue, as `Stream` has filled it."""

    def __init__(
        self,
        loop: Loop,
        address: Address,
        total: int,
        subscription: dict[str, str],
        taker: Callable[[Drain, Link], Taker],
    ) -> None:
        """`subscription`: the headers of SUBSCRIBE; `taker` makes what takes the messages from a link."""
        self.latencies = Latencies(1)
        self.done = 0
        self.total = total
        self.link = Link(address, "consumer")
        self.taker = taker(self, self.link)
        # Without a receipt: the messages come at once, perhaps before it.
        self._subscribe = Frame("SUBSCRIBE", subscription).encode(self.link.version)
        loop.add(self.link)

    def turn(self, sending: bool) -> bool:
        """Subscribe, once the clock runs."""
        if self._subscribe:
            self.link.send(self._subscribe)
            self._subscribe = b""
        return False

    def came(self, count: int) -> None:
        """Note deliveries."""
        self.done += count

    def missing(self) -> str:
        """Say what has not come yet."""
        return self.taker.check.missing(self.total)
