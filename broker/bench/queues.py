"""Many queues in use: messages go to one after the other, and one connection consumes from all.

A message carries the name of its queue in its body, so one that comes from another shows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from broker.bench.checks import EachInOrder, MeasurementError
from broker.bench.numbered import DIGITS, Numbered
from broker.bench.order import Order, measure
from broker.bench.stream import Stream, Traffic, send_frame
from broker.bench.timing import Result
from broker.bench.wire import Address, Link, subscription

QUEUE = re.compile(rb"\ndestination:[^\n]*\.([0-9]{5})\n")
SUBSCRIPTION = re.compile(rb"\nsubscription:([0-9]{5})\n")
AT_ONCE = 100  # subscriptions that leave together


@dataclass(frozen=True)
class Spread(Traffic):
    """Messages to many queues in turn."""

    queues: int = 10_000

    def suffixes(self) -> list[str]:
        """Return what the queues' names end with."""
        return [f"{index:05}" for index in range(self.queues)]

    def queue(self, key: str) -> str:
        """Return the name of a queue."""
        return f"{self.destination}.{key}"

    def frames(self) -> Numbered:
        """Return the SENDs: a round has one for each queue."""
        return Numbered(
            *(
                send_frame(self.queue(key), self.durable, self.body_pattern(key.encode()))
                for key in self.suffixes()
            )
        )


class Subscriber:
    """One connection with a subscription for every queue."""

    def __init__(self, load: Stream, address: Address, name: str, traffic: Spread) -> None:
        self.load = load
        self.link = Link(address, name)
        self.size = -traffic.body
        keys = [key.encode() for key in traffic.suffixes()]
        rest = traffic.body_pattern(keys[0])[DIGITS + len(keys[0]) :]
        self.check = EachInOrder("messages", keys, rest)
        self.link.take = self.take
        for index, key in enumerate(traffic.suffixes(), 1):
            headers = subscription(traffic.queue(key), traffic.ack) | {"id": key}
            if index % AT_ONCE and index < traffic.queues:
                self.link.say("SUBSCRIBE", headers)
            else:
                self.link.ask("SUBSCRIBE", headers)

    def take(self, frames: list[bytes], whole: bytes) -> None:
        """Check a batch of messages."""
        keys = QUEUE.findall(whole)
        if not self.link.address.copies and SUBSCRIPTION.findall(whole) != keys:
            raise MeasurementError(f"not every message is its subscription's: {whole[:400]!r}")
        self.check.take(keys, [frame[self.size :] for frame in frames])
        self.load.came(len(frames))


def queues(order: Order, results: list[Result]) -> None:
    """Measure messages to many queues, and from them."""
    traffic = Spread(order.destination("queue"), **order.settings)
    measure(
        order,
        results[0],
        lambda loop: Stream(
            loop,
            order.address,
            traffic,
            connect=lambda load, address, name, _: Subscriber(load, address, name, traffic),
        ),
        order.warmup,
        order.seconds,
    )
