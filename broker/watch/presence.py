"""Who is there: clients and their consumers, for whoever asks now and then, and what the broker calls itself.

It learns of clients and consumers by events, and keeps no queues or topics: `Routes` has them. Of queues that
are no more it keeps what they have counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from broker.client import Client
from broker.consumer import Consumer
from broker.core.event import Event
from broker.core.pattern import compile_pattern, is_pattern
from broker.core.queue import Queue
from broker.core.several import Part, Several
from broker.core.subscription import Subscription
from broker.core.topic import Topic, TopicQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from broker.core.broker import Broker


class Presence:
    """Everybody who is connected, and what they consume."""

    def __init__(self, broker: Broker, name: str, id: str) -> None:
        """`name` is that of the store and lasts, `id` is that of this run."""
        self.name = name
        self.id = id
        self.url = ""  # of the first listener
        self.clients: dict[Client, None] = {}  # in the order they came
        self.consumers: dict[Subscription, Consumer] = {}
        self._own_queues: dict[Consumer, Queue] = {}  # that a topic's subscriber has for itself
        self._by_own_queue: dict[Queue, Consumer] = {}
        self.gone = Counts()  # of queues that are no more
        self.published = 0  # messages that came to topics that are no more
        self._broker = broker
        #: Kind of event → what learns from it.
        self.notes: dict[str, Callable[[Event], None]] = {
            "Connection": self._note_client,
            "Queue": self._note_queue,
            "TempQueue": self._note_queue,
            "Topic": self._note_topic,
            "TempTopic": self._note_topic,
        }

    def _note_client(self, event: Event) -> None:
        client = cast(Client, event.source)
        if event.gone:
            self.clients.pop(client, None)
        else:
            self.clients[client] = None

    def note_consumer(self, consumer: Consumer, gone: bool) -> None:
        """A consumer has come or gone."""
        subscription = consumer.subscription
        if not gone:
            self.consumers[subscription] = consumer
            for queue in queues_of(subscription):
                if isinstance(queue, TopicQueue):  # one at most
                    self._by_own_queue[queue] = consumer
                    self._own_queues[consumer] = queue
        elif self.consumers.pop(subscription, None) is not None and consumer in self._own_queues:
            del self._by_own_queue[self._own_queues.pop(consumer)]

    def _note_queue(self, event: Event) -> None:
        if event.gone:
            self.gone.add(cast(Queue, event.source))

    def _note_topic(self, event: Event) -> None:
        if event.gone:
            self.published += cast(Topic, event.source).enqueued

    def consumers_of(self, source: Queue | Topic) -> int:
        """Return how many consumers a queue or topic has, those of a pattern that means it included."""
        if isinstance(source, Queue):
            return len(source.subscriptions)
        return len(source.bound) + self._broker.durables.consumers_of(source.name)

    def consumer_of(self, queue: Queue) -> Consumer | None:
        """Return the consumer that a subscriber's queue was made for."""
        return self._by_own_queue.get(queue)


class Counts:
    """What queues have counted."""

    def __init__(self) -> None:
        self.enqueued = 0  # messages that came
        self.before = 0  # messages that were there when the counting began
        self.expired = 0
        self.dropped = 0  # given up because of a limit
        self.waiting = 0  # that no consumer has
        self.in_flight = 0  # that consumers have

    @classmethod
    def of(cls, queues: Iterable[Queue]) -> Counts:
        """Return the sum over some queues."""
        counts = cls()
        for queue in queues:
            counts.add(queue)
        return counts

    def add(self, queue: Queue) -> None:
        """Add what a queue has counted."""
        self.enqueued += queue.enqueued
        self.before += queue.before
        self.expired += queue.expired
        self.dropped += queue.dropped
        self.waiting += queue.waiting
        self.in_flight += in_flight(queue)


def in_flight(queue: Queue) -> int:
    """Return how many messages of a queue its consumers have."""
    count = 0
    for holder in queue.subscriptions:
        count += holder.holds if isinstance(holder, Part) else len(holder.in_flight)
    for owed in queue.owed:  # a transaction still has messages of it
        if isinstance(owed.queue, Several):
            count += sum(1 for origin in owed.queue.origins.values() if origin is queue)
        else:
            count += len(owed.in_flight)
    return count


def meant_by(pattern: str, named: Mapping[str, Queue | Topic]) -> Sequence[Queue | Topic]:
    """Return the queues or topics, of all there are, that a name or a pattern means."""
    if not is_pattern(pattern):
        return [named[pattern]] if pattern in named else []
    matches = compile_pattern(pattern)
    return [each for name, each in named.items() if matches(name)]


def queues_of(subscription: Subscription) -> list[Queue]:
    """Return the queues that a subscription takes from."""
    queue = subscription.queue
    return [*queue.parts] if isinstance(queue, Several) else [queue]
