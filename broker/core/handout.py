"""What a COMMIT sends to topics, handed out in goes.

All that a transaction stores is stored in one turn, so that it is there whole or not at all. To subscribers who live
in memory nothing is promised: a thousand messages for a thousand of them are a million deliveries, and others need
not wait for that. Only the client does, so that what it sends next comes next.

A few subscribers get theirs at once: who has several destinations sees messages of one COMMIT in their order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING

from broker.core.each import for_each
from broker.core.lane import Read
from broker.core.message import Message

if TYPE_CHECKING:
    from broker.core.broker import Broker
    from broker.core.topic import Receiver, Topic

FEW = 16  # subscribers who get theirs at once
FIRST_GO = 0.01  # seconds before others get their turn for the first time
LOOKS = 64  # subscribers between two looks at the clock


class Unfinished(Exception):
    """No fault: what was asked for goes on, and whoever has asked must wait for its end."""

    def __init__(self, handout: Handout) -> None:
        super().__init__("subscribers are still being served")
        self.handout = handout


class Round:
    """One message, and who is still to get it."""

    __slots__ = ("message", "next", "receivers", "skipped", "topic")

    def __init__(
        self,
        topic: Topic,
        message: Message,
        receivers: Sequence[Receiver],
        skipped: Container[Receiver],
    ) -> None:
        self.topic = topic
        self.message = message
        self.receivers = receivers  # who was bound when it was sent
        self.next = 0  # of these
        self.skipped = skipped

    def go(self, count: int, now: int) -> bool:
        """Hand it to so many more; return whether that was all."""
        bound, message, skipped = self.topic.bound, self.message, self.skipped
        start, self.next = self.next, self.next + count
        if 0 < message.expires <= now:
            return True
        for receiver in self.receivers[start : self.next]:
            put = bound.get(receiver)
            if put is not None and receiver not in skipped:
                put(message)
        return self.next >= len(self.receivers)


class Handout:
    """Messages for the subscribers of topics, in order. While entered (`with`) it takes what has many."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._rounds: deque[Round] = deque()
        self._receivers: dict[Topic, Sequence[Receiver]] = {}  # of topics, while entered
        self._calls: list[Callable[[], None]] = []

    def __enter__(self) -> Handout:
        self._broker.handout = self
        return self

    def __exit__(self, *_: object) -> None:
        self._broker.handout = None
        self._receivers.clear()

    def take(self, topic: Topic, message: Message, skipped: Container[Receiver] = ()) -> bool:
        """Hand a message later to whoever is bound to a topic now, but for some; False if it can be done at once."""
        if len(topic.bound) <= FEW and not topic.handouts:
            return False
        receivers = self._receivers.get(topic)
        if receivers is None:
            receivers = self._receivers[topic] = [*topic.bound]
        self._rounds.append(Round(topic, message, receivers, skipped))
        topic.handouts += 1
        self._broker.memory.room -= len(message.tail)
        return True

    def begin(self) -> bool:
        """Hand out for a while; return whether that was all."""
        elapsed = self._broker.outside.elapsed
        ends = elapsed() + FIRST_GO
        return self._hand_out(lambda: elapsed() >= ends)

    def then(self, call: Callable[[], None]) -> None:
        """Call something when all is handed out."""
        self._calls.append(call)

    def go_on(self, read: Read) -> None:
        """Hand out some more."""
        if self._hand_out(lambda: self._broker.late):
            for_each(self._calls, lambda call: call())

    def _hand_out(self, is_late: Callable[[], bool]) -> bool:
        """Hand out until it is late; return whether that was all."""
        rounds, broker = self._rounds, self._broker
        try:
            while rounds:
                if rounds[0].go(LOOKS, broker.now):
                    done = rounds.popleft()
                    done.topic.handouts -= 1
                    broker.memory.room += len(done.message.tail)
                if is_late():
                    break
            return not rounds
        finally:
            if rounds:
                broker.again[self] = None
