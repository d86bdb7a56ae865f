"""Destination name → queue or topic, made on first use.

A destination is a prefix and a name: `/queue/NAME`, `/topic/NAME`; a name without a prefix is a queue, as
ActiveMQ has it, and blanks around it do not count. Names are case-sensitive; slashes and dots inside are
part of the name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.queue import Queue
from broker.core.topic import Topic
from broker.errors import Refusal

if TYPE_CHECKING:
    from broker.core.broker import Broker

QUEUE, TOPIC = "/queue/", "/topic/"
UNKNOWN = ("/temp-queue/", "/temp-topic/", "/remote-temp-queue/", "/remote-temp-topic/")
NAME_BYTES = 255  # of a destination's name, in UTF-8

Route = Queue | Topic


class Routes:
    """Every destination in use."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._by_destination: dict[str, Route] = {}  # as clients write it; several may mean one
        self.get = self._by_destination.get  # for those who asked before
        self.queues: dict[str, Queue] = {}
        self.topics: dict[str, Topic] = {}
        self._next_number = 1
        self.changes = 0  # goes up when a destination is removed: what others remember is void

    def find(self, destination: str) -> Route:
        """Return where a destination leads. Raises `Refusal` for a name that cannot be one."""
        route = self._by_destination.get(destination)
        if route is None:
            route = self._make(destination.strip())
            self._by_destination[destination] = route
        return route

    def load(self, number: int, name: str) -> Queue:
        """Take over a queue that the store holds."""
        self._next_number = max(self._next_number, number + 1)
        queue = self.queues[name] = Queue(self._broker, number, name)
        self._broker.journal.known(number)
        return queue

    def queue(self, name: str) -> Queue:
        """Return the queue of this name."""
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queues[name] = Queue(self._broker, self._next_number, name)
            self._broker.journal.name(queue.number, name)
            self._next_number += 1
        return queue

    def topic(self, name: str) -> Topic:
        """Return the topic of this name."""
        return self.topics.setdefault(name, Topic(name))

    def remove_idle(self, idle_before: set[Route]) -> set[Route]:
        """Remove destinations that are idle and were so before; return those idle now for the first time.

        Idle is a queue without messages and consumers, or a topic without subscribers.
        """
        queues = [q for q in self.queues.values() if q.idle]
        topics = [t for t in self.topics.values() if not t.bound]
        idle: set[Route] = {*queues, *topics}
        gone = idle & idle_before
        if gone:
            self.changes += 1
            for queue in queues:
                if queue in gone:
                    del self.queues[queue.name]
                    self._broker.journal.drop(queue.number)
            for topic in topics:
                if topic in gone:
                    del self.topics[topic.name]
            for destination in [d for d, r in self._by_destination.items() if r in gone]:
                del self._by_destination[destination]
        return idle - gone

    def _make(self, destination: str) -> Route:
        if destination.startswith(UNKNOWN):
            raise Refusal(
                f"Unsupported destination: {destination}",
                "Temporary destinations are not supported; use a queue with a name of your own.",
            )
        is_topic = destination.startswith(TOPIC)
        name = destination.removeprefix(TOPIC if is_topic else QUEUE)
        if not name:
            raise Refusal(
                "Invalid empty or 'null' Destination header",
                "A destination reads /queue/NAME or /topic/NAME.",
            )
        if len(name.encode()) > NAME_BYTES:
            raise Refusal(
                f"The destination's name is longer than {NAME_BYTES} bytes", "Use a shorter name."
            )
        return self.topic(name) if is_topic else self.queue(name)
