"""One subscription that takes from several queues: `/queue/a,/queue/b`, `/queue/orders.>`.

The subscription is an ordinary one; instead of a queue it has a `Several`, which stands in for one. In the
line of each queue stands a `Part` of the subscription. All parts share what is in flight and the credit:

1. A queue hands a message to its part, which hands it to the subscription and remembers the queue.
2. Parts are *awake*, in the lines of their queues, as long as there is credit; when it is used up all fall
   asleep.
3. When some is given back they wake one after the other: first those whose queues have something waiting,
   in turn, so that no queue is served before others are; and if credit remains, the others.
4. What is done, refused or given back goes to the queue that the message came from.
5. The queues that it takes from only because of their names are left in goes: there may be thousands.

Falling asleep and waking take time for every queue: a prefetch of a few messages over thousands of queues
costs milliseconds a message, a larger one nothing while its consumer keeps up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.lane import Read
from broker.core.message import Message
from broker.core.subscription import AUTO, CLIENT_INDIVIDUAL, Subscription
from broker.core.topic import TopicQueue

if TYPE_CHECKING:
    from broker.core.queue import Queue


class Part(Subscription):
    """What stands in a queue's line for a subscription to several."""

    __slots__ = ("_destination", "_several", "holds", "home", "needs", "whole")

    def __init__(self, whole: Subscription, queue: Queue, several: Several, roams: bool) -> None:
        mode = AUTO if whole.auto else CLIENT_INDIVIDUAL
        super().__init__(queue, mode, whole.credit, self._pass_on)
        self.home = queue
        self.holds = 0  # messages from here that are in flight
        self.needs = not roams  # the queue must stay
        self.roams = roams  # the same, as long as it holds nothing
        self.paused = True  # asleep
        self.in_flight = whole.in_flight
        self.whole = whole
        self._several = several
        self._destination = queue.destination
        if isinstance(queue, TopicQueue):
            self._destination = ""  # its messages say what topic they are of, and it chose before
        else:
            self.wants, self.rank, self.exclusive = whole.wants, whole.rank, whole.exclusive

    @property
    def consumer(self) -> Subscription:
        """The subscription to several."""
        return self.whole

    def wake(self) -> None:
        """Stand in line: there is credit."""
        self.paused = False
        self.credit = self.whole.credit
        self.home.feed(self)

    def sleep(self) -> None:
        """Leave the line."""
        self.paused = True
        self.home.rest(self)

    def let_go(self) -> None:
        """The queue is no more."""
        self._several.remove(self)

    def end(self) -> None:
        """The subscription ends, or the queue."""
        self.closed = True
        self.home.leave(self)
        self.deliver = self.whole.deliver  # it pointed to ourselves: nothing is to keep us

    def _pass_on(self, message: Message) -> str:
        """Hand a message to the whole; the queue has yet to take one off our credit."""
        whole = self.whole
        if self._destination:
            message.mark().destination = self._destination
        if not whole.auto:
            self._several.origins[message.seq] = self.home
            self.holds += 1
            self.roams = False
            whole.credit -= 1
            self.credit = whole.credit + 1
            if whole.credit <= 0:
                self._several.tire(self)
        return whole.deliver(message)


class Several:
    """Stands in for the queue of a subscription to several."""

    def __init__(self) -> None:
        self.parts: dict[Queue, Part] = {}
        self.origins: dict[int, Queue] = {}  # seq of what is in flight → where it came from
        self.owed = Owed(self.origins)
        self._awake: dict[Part, None] = {}
        self._leaving: list[Part] = []  # closed, and still to leave their queues
        self._last: Part | None = None  # who took the last of the credit

    def add(self, whole: Subscription, queue: Queue, roams: bool = False) -> None:
        """Take from one more queue. `roams`: only because its name fits."""
        if queue not in self.parts:
            part = self.parts[queue] = Part(whole, queue, self, roams)
            queue.join(part)
            if whole.hungry:
                self._wake(part)

    def remove(self, part: Part) -> None:
        """The queue of a part is no more."""
        self._awake.pop(part, None)
        if self.parts.pop(part.home, None) is not None:
            part.end()

    def done(self, message: Message) -> None:
        """A message is acknowledged."""
        self._origin(message).done(message)

    def home_of(self, message: Message) -> Queue:
        """Return the queue of a message that the consumer has."""
        return self.origins[message.seq]

    def refuse(
        self,
        message: Message,
        requeue: bool,
        delay: int = 0,
        reason: str = "",
        by: Subscription | None = None,
    ) -> None:
        """A message is refused."""
        self._origin(message).refuse(message, requeue, delay, reason, by)

    def give_back(self, messages: list[Message]) -> None:
        """Messages return to where they came from."""
        by_queue: dict[Queue, list[Message]] = {}
        for message in messages:
            by_queue.setdefault(self._origin(message), []).append(message)
        for queue, some in by_queue.items():
            queue.give_back(some)

    def feed(self, whole: Subscription) -> None:
        """The subscription can take messages."""
        if not whole.hungry or len(self._awake) == len(self.parts):
            return
        asleep = self._asleep()
        for part in asleep:
            if part.home.waiting:
                self._wake(part)
                if not self._awake:  # it took all the credit
                    return
        for part in asleep:
            if part.paused:
                self._wake(part)

    def rest(self, whole: Subscription) -> None:
        """The subscription can take no messages."""
        awake, self._awake = self._awake, {}
        for part in awake:
            part.sleep()

    def tire(self, last: Part) -> None:
        """The credit is used up by a message for `last`, whose queue sees to it itself."""
        awake, self._awake = self._awake, {}
        for part in awake:
            if part is not last:
                part.sleep()
        last.paused = True
        self._last = last

    def leave(self, whole: Subscription) -> None:
        """The subscription ends: nothing more is taken at once, and the queues are left in goes."""
        parts, self.parts, self._awake, self._last = self.parts, {}, {}, None
        for part in parts.values():
            if part.needs:
                part.end()
            else:
                part.closed = True
                part.home.rest(part)
                self._leaving.append(part)
        self._leave_on()

    def go_on(self, read: Read) -> None:
        """Leave some more queues."""
        self._leave_on()

    def _leave_on(self) -> None:
        leaving = self._leaving
        while leaving:
            part = leaving.pop()
            broker = part.home.broker
            part.end()
            if leaving and broker.late:
                broker.again[self] = None
                return

    def _asleep(self) -> list[Part]:
        """Return the parts that are asleep, those first whose turn it is."""
        parts = [*self.parts.values()]
        if self._last in parts:
            turn = parts.index(self._last) + 1
            parts = parts[turn:] + parts[:turn]
        return [part for part in parts if part.paused]

    def _wake(self, part: Part) -> None:
        self._awake[part] = None
        part.wake()

    def _origin(self, message: Message) -> Queue:
        """Return where a message came from; it is in flight no more."""
        queue = self.origins.pop(message.seq)
        part = self.parts.get(queue)
        if part is not None:
            part.holds -= 1
            part.roams = not (part.holds or part.needs)
        return queue


class Owed:
    """Keeps queues from being forgotten while a transaction holds messages of theirs."""

    def __init__(self, origins: dict[int, Queue]) -> None:
        self._origins = origins
        self._queues: set[Queue] = set()

    def add(self, whole: Subscription) -> None:
        """It is gone, and a transaction still holds messages."""
        self._queues = set(self._origins.values())
        for queue in self._queues:
            queue.owed.add(whole)

    def discard(self, whole: Subscription) -> None:
        """Nothing is held any more."""
        for queue in self._queues:
            queue.owed.discard(whole)
