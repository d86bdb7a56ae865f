"""What a COMMIT sends to topics, handed out in goes.

All that a transaction stores is stored in one turn, so that it is there whole or not at all. To subscribers who live
in memory nothing is promised: a thousand messages for a thousand of them are a million deliveries, and others need
not wait for that. Only the client does, so that what it sends next comes next.

A few subscribers get theirs at once: who has several destinations sees messages of one COMMIT in their order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterator
from typing import TYPE_CHECKING

from broker.core.each import for_each
from broker.core.lane import Read
from broker.core.message import Message

if TYPE_CHECKING:
    from broker.core.broker import Broker
    from broker.core.topic import Receiver, Topic

FEW = 16  # subscribers who get theirs at once
AT_ONCE = 0.01  # seconds before others get their turn for the first time
DELIVERIES = 64  # between two looks at the clock


class Unfinished(Exception):
    """No fault: what was asked for goes on, and whoever has asked must wait for its end."""

    def __init__(self, handout: Handout) -> None:
        super().__init__("subscribers are still being served")
        self.handout = handout


class Handout:
    """Messages for the subscribers of topics, in order. While entered (`with`) it takes what has many."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._left: deque[tuple[Topic, Message, Container[Receiver]]] = deque()
        self._receivers: Iterator[Receiver] = iter(())  # who still gets the first of them
        self._calls: list[Callable[[], None]] = []

    def __enter__(self) -> Handout:
        self._broker.handout = self
        return self

    def __exit__(self, *_: object) -> None:
        self._broker.handout = None

    def take(self, topic: Topic, message: Message, skipped: Container[Receiver] = ()) -> bool:
        """Hand a message later to whoever is bound to a topic then, but for some; False if it can be done at once."""
        if len(topic.bound) <= FEW:
            return False
        if not self._left:
            self._receivers = iter([*topic.bound])
        self._left.append((topic, message, skipped))
        self._broker.memory.room -= len(message.tail)
        return True

    def begin(self) -> bool:
        """Hand out for a while; return whether that was all."""
        elapsed = self._broker.outside.elapsed
        ends = elapsed() + AT_ONCE
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
        left, given = self._left, 0
        try:
            while left:
                topic, message, skipped = left[0]
                bound = topic.bound
                for receiver in self._receivers:
                    if receiver in bound and receiver not in skipped:
                        bound[receiver](message)
                        given += 1
                        if not given % DELIVERIES and is_late():
                            return False
                self._next()
            return True
        finally:
            if left:
                self._broker.again[self] = None

    def _next(self) -> None:
        """The first message is handed out."""
        _, message, _ = self._left.popleft()
        self._broker.memory.room += len(message.tail)
        if self._left:
            self._receivers = iter([*self._left[0][0].bound])
