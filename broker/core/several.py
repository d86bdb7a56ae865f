"""One subscription that takes from several queues: `/queue/a,/queue/b`, `/queue/orders.>`.

The subscription is an ordinary one; instead of a queue it has a `Several`, which stands in for one. In the
line of each queue stands a `Part` of the subscription. All parts share what is in flight and the credit:

1. A queue hands a message to its part, which hands it to the subscription and remembers the queue.
2. When the credit is used up, no part is hungry; when some is given back, all are.
3. What is done, refused or given back goes to the queue that the message came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.message import Message
from broker.core.subscription import AUTO, CLIENT_INDIVIDUAL, Subscription

if TYPE_CHECKING:
    from broker.core.queue import Queue


class Part(Subscription):
    """What stands in a queue's line for a subscription to several."""

    __slots__ = ("_several", "home", "whole")

    def __init__(self, whole: Subscription, queue: Queue, several: Several, roams: bool) -> None:
        super().__init__(
            queue,
            AUTO if whole.auto else CLIENT_INDIVIDUAL,
            whole.credit,
            self._pass_on,
            whole.wants,
            whole.rank,
            whole.exclusive,
        )
        self.home = queue
        self.in_flight = whole.in_flight
        self.paused = whole.paused
        self.roams = roams
        self.whole = whole
        self._several = several

    def _pass_on(self, message: Message) -> str:
        """Hand a message to the whole; the queue has yet to take one off our credit."""
        whole = self.whole
        if not (message.extra and message.extra.destination):
            message.mark().destination = self.home.destination
        if not whole.auto:
            self._several.origins[message.seq] = self.home
            whole.credit -= 1
            self.credit = whole.credit + 1
            if not whole.credit:
                for part in self._several.parts.values():
                    if part is not self:
                        part.credit = 0
                        part.queue.rest(part)
        return whole.deliver(message)

    def let_go(self) -> None:
        """The queue is no more."""
        self._several.remove(self.home)


class Several:
    """Stands in for the queue of a subscription to several."""

    def __init__(self) -> None:
        self.parts: dict[Queue, Part] = {}
        self.origins: dict[int, Queue] = {}  # seq of what is in flight → where it came from
        self.owed = Owed(self.parts)

    def add(self, whole: Subscription, queue: Queue, roams: bool = False) -> None:
        """Take from one more queue. `roams`: only because its name fits."""
        if queue not in self.parts:
            part = self.parts[queue] = Part(whole, queue, self, roams)
            queue.join(part)
            queue.feed(part)

    def remove(self, queue: Queue) -> None:
        """A queue is no more."""
        part = self.parts.pop(queue, None)
        if part is not None:
            part.closed = True
            queue.leave(part)

    def done(self, message: Message) -> None:
        """A message is acknowledged."""
        self.origins.pop(message.seq).done(message)

    def refuse(self, message: Message, requeue: bool, delay: int = 0) -> None:
        """A message is refused."""
        self.origins.pop(message.seq).refuse(message, requeue, delay)

    def give_back(self, messages: list[Message]) -> None:
        """Messages return to where they came from."""
        by_queue: dict[Queue, list[Message]] = {}
        for message in messages:
            by_queue.setdefault(self.origins.pop(message.seq), []).append(message)
        for queue, some in by_queue.items():
            queue.give_back(some)

    def feed(self, whole: Subscription) -> None:
        """The subscription can take messages."""
        for part in list(self.parts.values()):
            part.paused = whole.paused
            if not whole.auto:
                part.credit = whole.credit
            part.queue.feed(part)
            if not whole.hungry:
                break

    def rest(self, whole: Subscription) -> None:
        """The subscription can take no messages."""
        for part in self.parts.values():
            part.paused = whole.paused
            if not whole.auto:
                part.credit = whole.credit
            part.queue.rest(part)

    def leave(self, whole: Subscription) -> None:
        """The subscription ends."""
        for queue, part in self.parts.items():
            part.closed = True
            queue.leave(part)


class Owed:
    """Keeps all the queues from being forgotten while a transaction holds messages of some."""

    def __init__(self, parts: dict[Queue, Part]) -> None:
        self._parts = parts

    def add(self, whole: Subscription) -> None:
        """It is gone, and a transaction still holds messages."""
        for queue in self._parts:
            queue.owed.add(whole)

    def discard(self, whole: Subscription) -> None:
        """Nothing is held any more."""
        for queue in self._parts:
            queue.owed.discard(whole)
