"""Virtual topics, as ActiveMQ has them: topics that queues take from.

What is sent to `/topic/VirtualTopic.X` goes to its subscribers and into every queue that is called
`Consumer.ANY.VirtualTopic.X`, so that each ANY is a group of consumers who share the work, and nothing is
lost while nobody of the group is there. Such a queue exists from its first SUBSCRIBE or SEND on, also
across restarts. One that has a pattern for a topic, `Consumer.ANY.VirtualTopic.>`, takes from all of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from broker.core.fanout import tell_origin
from broker.core.message import Message
from broker.core.names import is_virtual, virtual_topic_of
from broker.core.pattern import compile_pattern, is_pattern
from broker.core.queue import Queue
from broker.core.topic import Topic

if TYPE_CHECKING:
    from broker.core.broker import Broker


class VirtualTopics:
    """Which queues take from which topics."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._consumers: dict[Queue, Callable[[str], bool]] = {}

    def meet_queue(self, queue: Queue, topics: Iterable[Topic]) -> None:
        """There is a new queue. If it takes from virtual topics it stays, also while it is empty."""
        virtual = virtual_topic_of(queue.name)
        if not virtual:
            return
        queue.keep_idle = True
        self._broker.journal.keep(queue.number)
        matches = self._consumers[queue] = compile_pattern(virtual)
        for topic in topics:
            if is_virtual(topic.name) and matches(topic.name):
                self._lead(topic, queue)

    def meet_topic(self, topic: Topic) -> None:
        """There is a new topic."""
        if is_virtual(topic.name):
            for queue, matches in self._consumers.items():
                if matches(topic.name):
                    self._lead(topic, queue)

    def leave_queue(self, queue: Queue, topics: Iterable[Topic]) -> None:
        """A queue is no more: the topics lead elsewhere, if anywhere."""
        if self._consumers.pop(queue, None) is None:
            return
        for topic in topics:
            for keeper in [*topic.keepers]:
                if isinstance(keeper, Forwards) and keeper.remove(queue):
                    topic.release(keeper, stays=keeper.has_queues)

    def _lead(self, topic: Topic, queue: Queue) -> None:
        forwards = next((each for each in topic.keepers if isinstance(each, Forwards)), None)
        if forwards is None:
            forwards = Forwards(self._broker, topic)
        forwards.add(queue)
        topic.keep(forwards)


class Forwards:
    """Puts what is sent to a virtual topic into the queues of its consumers."""

    def __init__(self, broker: Broker, topic: Topic) -> None:
        self.roams = (
            True  # nobody misses the topic while it is idle: all its queues are a pattern's
        )
        self._broker = broker
        self._topic = topic
        self._queues: list[Queue] = []

    def add(self, queue: Queue) -> None:
        """One more consumer has a queue."""
        self._queues.append(queue)
        self.roams = self.roams and is_pattern(virtual_topic_of(queue.name))

    def remove(self, queue: Queue) -> bool:
        """A queue is no more; tell whether it was one of these."""
        if queue not in self._queues:
            return False
        self._queues.remove(queue)
        self.roams = all(is_pattern(virtual_topic_of(each.name)) for each in self._queues)
        return True

    @property
    def has_queues(self) -> bool:
        """True while there is anybody to put messages for."""
        return bool(self._queues)

    def put(self, message: Message) -> None:
        """Take a message of the topic."""
        broker = self._broker
        tail = tell_origin(broker, message.tail, self._topic.destination)
        for queue in self._queues:
            copy = broker.twin(message, message.durable)
            copy.tail = tail
            broker.fit(copy, queue.policy)
            queue.put(copy)

    def put_from(self, sender: object) -> Callable[[Message], None]:
        """Return the function that takes the messages of a sender."""
        return self.put

    def limits(self) -> Sequence[Queue]:
        """Return the queues whose limits a SEND must respect."""
        return [limited for queue in self._queues for limited in queue.limits()]
