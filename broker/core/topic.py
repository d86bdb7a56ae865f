"""A topic: every message to every subscriber that is there when it comes.

A subscriber of a topic is a queue of its own with one consumer, so acknowledgements, credit and
redelivery are the queue's. Such a queue lives in memory and with its consumer. A consumer that is too
slow loses its oldest messages at a limit, rather than the broker its memory or other subscribers theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.message import Message
from broker.core.queue import Queue
from broker.core.subscription import Subscription

if TYPE_CHECKING:
    from broker.core.broker import Broker

PENDING = 100_000  # messages that may wait for one slow subscriber
PENDING_BYTES = 64 * 1024 * 1024  # bytes of them


class TopicQueue(Queue):
    """One subscriber's messages."""

    durable = False

    def __init__(self, broker: Broker, topic: Topic) -> None:
        super().__init__(broker, -1, topic.name)
        self._topic = topic
        self.dropped = 0  # messages lost because the subscriber was too slow

    def join(self, subscription: Subscription) -> None:
        """The one consumer comes."""
        super().join(subscription)
        self._topic.bound.append(self)

    def leave(self, subscription: Subscription) -> None:
        """The one consumer goes, and the queue with it."""
        super().leave(subscription)
        self._topic.bound.remove(self)
        for lane in self._lanes:
            self._broker.memory.room += lane.bytes
        self._lanes.clear()
        self._lane_of.clear()
        self.waiting = 0

    def refuse(self, message: Message, requeue: bool) -> None:
        """The consumer does not want it; how often is nothing to other subscribers."""
        super().refuse(message.copy(), requeue)

    def give_back(self, messages: list[Message]) -> None:
        """The consumer wants them again; the message itself is shared with other subscribers."""
        if self.subscriptions:
            super().give_back([message.copy() for message in messages])

    def _keep(self, message: Message) -> None:
        super()._keep(message)
        while self.waiting > 1 and (
            self.waiting > PENDING
            or sum(lane.bytes for lane in self._lanes) > PENDING_BYTES
            or self._broker.memory.room < self._broker.memory.reserve
        ):
            lane = next(lane for lane in reversed(self._lanes) if lane.head)  # the least urgent
            oldest = lane.head.popleft()
            lane.bytes -= len(oldest.tail)
            self._broker.memory.room += len(oldest.tail)
            self.waiting -= 1
            self.dropped += 1


class Topic:
    """Fan-out to whoever is subscribed."""

    durable = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.bound: list[Queue] = []

    def put(self, message: Message) -> None:
        """Give a message to everybody who is there."""
        for queue in self.bound:
            queue.put(message)
