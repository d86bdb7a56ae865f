"""Statistics on demand: an empty SEND with reply-to is answered with numbers, as by ActiveMQ's statistics plugin.

    /queue/ActiveMQ.Statistics.Broker             one map for all of the broker
    /queue/ActiveMQ.Statistics.Destination.NAME   one for each queue that NAME, or a pattern, means
    /topic/ActiveMQ.Statistics.Destination.NAME   one for each topic
    /queue/ActiveMQ.Statistics.Subscription       one for each subscription

Headers that say more (the last two also as part of the destination's name):

    ActiveMQ.Statistics.Broker.Reset                                      counting begins anew
    ActiveMQ.Statistics.Destination.List.End.With.Null                    an empty map follows the last one
    ActiveMQ.Statistics.Destination.Include.First.Message.Timestamp       when the first message was sent

The answers are maps (`broker.watch.maps`) with the keys of ActiveMQ's `StatisticsBroker`, and `correlation-id`. The
numbers are those that there are anyway; nothing is counted for them on a message's way:

- `size`, `inflightCount`, `enqueueCount`, `expiredCount`, `messagesCached` and the counts of consumers are exact,
  since the start or the last reset. A topic's are those of its own subscribers, not of those by wildcard.
- The broker's `enqueueCount` is that of queues and topics, its other counts of messages are those of queues.
- `dequeueCount` follows from them: whatever came, or was there at the start, and is there no more. What was put off
  for a later redelivery has gone and comes again.
- `dispatchCount` is at least right: everything handed to a consumer, but what was handed out again counts once.
- `averageMessageSize` is that of messages that wait in memory, their headers included.
- `storeUsage` is what the store's files take of the disk. They do not shrink; `storeRoom` is what can be sent for
  certain before SENDs are refused.
- Nobody measures how long messages wait, or what a topic's subscribers have acknowledged: these are null.
- STOMP has no producers that one could count, and nothing is kept in temporary files: 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from broker.client import number
from broker.consumer import Consumer
from broker.core.broker import Broker
from broker.core.fanout import Service
from broker.core.lane import Read
from broker.core.message import Message
from broker.core.names import QUEUE, TOPIC
from broker.core.queue import Queue
from broker.core.topic import Topic, TopicQueue
from broker.errors import Refusal
from broker.qualified import qualified, split
from broker.tail import read_headers
from broker.watch.author import Author, wanted_reply
from broker.watch.maps import Value, write_map
from broker.watch.presence import Counts, Presence, in_flight, meant_by

STATISTICS = "ActiveMQ.Statistics."
BROKER, SUBSCRIPTION = STATISTICS + "Broker", STATISTICS + "Subscription"
DESTINATION = STATISTICS + "Destination"
RESET = BROKER + ".Reset"
LIST_END = DESTINATION + ".List.End.With.Null"
FIRST_TIMESTAMP = DESTINATION + ".Include.First.Message.Timestamp"
LONGEST = 400  # characters of a pattern, with what may be in the name beside it
PREFIXES = (QUEUE + STATISTICS, TOPIC + STATISTICS, STATISTICS)

Map = dict[str, Value]


class Statistics:
    """Answers those who ask."""

    def __init__(
        self,
        broker: Broker,
        presence: Presence,
        author: Author,
        memory_limit: int,
        store_limit: int,
        store_usage: Callable[[], int],
        data_directory: str,
    ) -> None:
        """Limits and usage in bytes."""
        self._broker = broker
        self._presence = presence
        self._author = author
        self._memory_limit = memory_limit
        self._store_limit = store_limit
        self._store_usage = store_usage
        self._data_directory = data_directory
        for prefix in PREFIXES:
            broker.routes.services[prefix] = self._serve

    def _serve(self, destination: str) -> Service | None:
        """Return what answers at a destination, if that is one of ours."""
        kind, name = split(destination)
        if name in (BROKER, RESET):
            return self._author.serve(destination, partial(self._answer_broker, name == RESET))
        if name == SUBSCRIPTION:
            return self._author.serve(destination, self._answer_subscriptions)
        if name.startswith(DESTINATION):
            pattern = name.removeprefix(DESTINATION)
            if len(pattern) > LONGEST:
                raise Refusal("The pattern is too long", "A name has 255 bytes at most.")
            answer = partial(self._answer_destinations, kind, pattern)
            return self._author.serve(destination, answer)
        return None

    def _reply(self, request: Mapping[str, str], map: Map) -> None:
        headers, body = write_map(map, request.get("transformation", ""))
        self._author.reply(request, {"type": "Advisory", **headers}, body)

    def _name(self) -> Map:
        return {"brokerName": self._presence.name, "brokerId": self._presence.id}

    # The whole broker.

    def _answer_broker(self, reset: bool, message: Message) -> None:
        request = read_headers(message.tail)
        wanted_reply(request, BROKER)
        is_reset = reset or RESET in request

        def answer(is_reset: bool, read: Read) -> None:
            if is_reset:
                self.reset()
            self._reply(request, self.of_broker())

        self._author.gradually(lambda: [is_reset], answer, message)

    def _queues(self) -> list[Queue]:
        routes = self._broker.routes
        temporary = [each for each in routes.temporaries() if isinstance(each, Queue)]
        return [*routes.queues.values(), *temporary]

    def _topics(self) -> list[Topic]:
        routes = self._broker.routes
        temporary = [each for each in routes.temporaries() if isinstance(each, Topic)]
        return [*routes.topics.values(), *temporary]

    def reset(self) -> None:
        """Begin to count anew."""
        for queue in self._queues():
            queue.before = queue.waiting + in_flight(queue)
            queue.enqueued = queue.expired = queue.dropped = 0
        for topic in self._topics():
            topic.enqueued = 0
        self._presence.gone = Counts()
        self._presence.published = 0

    def of_broker(self) -> Map:
        """Return the numbers of the whole broker."""
        broker, presence, queues = self._broker, self._presence, self._queues()
        counts = counted(Counts.of(queues))
        gone = presence.gone
        counts["enqueueCount"] += gone.enqueued + presence.published
        counts["enqueueCount"] += sum(topic.enqueued for topic in self._topics())
        counts["expiredCount"] += gone.expired
        ended = gone.before + gone.enqueued - gone.waiting - gone.in_flight
        counts["dequeueCount"] += ended
        counts["dispatchCount"] += ended - gone.expired - gone.dropped
        memory = self._memory_limit - broker.memory.room
        store = self._store_usage()
        return {
            **self._name(),
            **counts,
            **cached(queues),
            "memoryPercentUsage": percent(memory, self._memory_limit),
            "memoryUsage": memory,
            "memoryLimit": self._memory_limit,
            "storePercentUsage": percent(store, self._store_limit),
            "storeUsage": store,
            "storeLimit": self._store_limit,
            "storeRoom": max(0, broker.journal.room),
            "tempPercentUsage": 0,
            "tempUsage": 0,
            "tempLimit": 0,
            **NOT_MEASURED,
            "consumerCount": len(presence.consumers),
            "producerCount": 0,
            "openwire": "",
            "stomp": "",
            "ssl": "",
            "stomp+ssl": "",
            presence.url.partition(":")[0]: presence.url,
            "vm": "",
            "dataDirectory": self._data_directory,
        }

    # Destinations.

    def _answer_destinations(self, kind: str, pattern: str, message: Message) -> None:
        request = read_headers(message.tail)
        wanted_reply(request, DESTINATION)
        says_end = LIST_END in request or LIST_END in pattern
        with_time = FIRST_TIMESTAMP in request or FIRST_TIMESTAMP in pattern
        pattern = pattern.replace(LIST_END, "").replace(FIRST_TIMESTAMP, "").strip(".")
        routes = self._broker.routes
        named: Mapping[str, Queue | Topic] = routes.topics if kind == TOPIC else routes.queues
        subscribers: Mapping[str, list[Queue]] = {}

        def find() -> Iterator[Queue | Topic | None]:
            nonlocal subscribers
            if kind == TOPIC:
                subscribers = self._subscribers()
            yield from meant_by(pattern, named)
            if says_end:
                yield None

        def answer(source: Queue | Topic | None, read: Read) -> None:
            if source is None:
                self._reply(request, {})
            elif isinstance(source, Topic):
                self._reply(request, self._of_topic(source, subscribers.get(source.name, ())))
            else:
                map = self._of_queue(source)
                if with_time and (first := self._first_timestamp(source, read)):
                    map["firstMessageTimestamp"] = first
                self._reply(request, map)

        self._author.gradually(find, answer, message)

    def _of_queue(self, queue: Queue) -> Map:
        return {
            **self._name(),
            "destinationName": qualified(queue.destination),
            **counted(Counts.of([queue])),
            **cached([queue]),
            **self._memory_of(queue.charged, queue.policy.memory_limit),
            **NOT_MEASURED,
            "consumerCount": self._presence.consumers_of(queue),
            "producerCount": 0,
        }

    def _of_topic(self, topic: Topic, queues: Iterable[Queue]) -> Map:
        queues = list(queues)
        counts = Counts.of(queues)
        return {
            **self._name(),
            "destinationName": qualified(topic.destination),
            "size": counts.waiting + counts.in_flight,
            "enqueueCount": topic.enqueued,
            "dequeueCount": None,
            "dispatchCount": None,
            "expiredCount": counts.expired,
            "inflightCount": counts.in_flight,
            **cached(queues),
            **self._memory_of(sum(queue.charged for queue in queues), topic.policy.memory_limit),
            **NOT_MEASURED,
            "consumerCount": self._presence.consumers_of(topic),
            "producerCount": 0,
        }

    def _memory_of(self, usage: int, limit: int) -> Map:
        limit = limit or self._memory_limit
        return {
            "memoryPercentUsage": percent(usage, limit),
            "memoryUsage": usage,
            "memoryLimit": limit,
        }

    def _subscribers(self) -> Mapping[str, list[Queue]]:
        """Return the queues of those who subscribe to one topic each, by its name."""
        queues: defaultdict[str, list[Queue]] = defaultdict(list)
        for subscription, consumer in self._presence.consumers.items():
            queue = subscription.queue
            if isinstance(queue, TopicQueue) and len(consumer.wish.elements) == 1:
                queues[queue.name].append(queue)
        for durable in self._broker.durables.list():
            queues[durable.name].append(durable)
        return queues

    def _first_timestamp(self, queue: Queue, read: Read) -> int | None:
        """Return when the message was sent that is the next one; in milliseconds since 1970."""
        broker = self._broker
        for lane in queue.lanes:
            some, _ = lane.after(-1, 1, queue.number, read, broker.suspect_before, broker.committed)
            if some:
                try:
                    return number(read_headers(some[0].tail), "timestamp", 0, "") or None
                except Refusal:
                    return None  # it is the sender's, who may write what it likes
        return None

    # Subscriptions.

    def _answer_subscriptions(self, message: Message) -> None:
        request = read_headers(message.tail)
        wanted_reply(request, SUBSCRIPTION)
        self._author.gradually(
            lambda: list(self._presence.consumers.values()),
            lambda consumer, read: self._reply(request, self._of_subscription(consumer)),
            message,
        )

    def _of_subscription(self, consumer: Consumer) -> Map:
        wish, client, subscription = consumer.wish, consumer.client, consumer.subscription
        queue = subscription.queue
        held = len(subscription.in_flight)
        came = handed = None
        if isinstance(queue, TopicQueue):  # its own
            came = queue.enqueued
            handed = came - queue.waiting - queue.dropped - queue.expired
        return {
            **self._name(),
            "destinationName": ",".join(map(qualified, wish.elements)),
            "clientId": client.client_id or client.session,
            "connectionId": client.session,
            "sessionId": -1,
            "selector": wish.selector or None,
            "enqueueCounter": came,
            "dequeueCounter": None if handed is None else handed - held,
            "dispatchedCounter": handed,
            "dispatchedQueueSize": held,
            "prefetchSize": wish.prefetch,
            "maximumPendingMessageLimit": wish.pending or 0,
            "exclusive": wish.exclusive,
            "retroactive": wish.retroactive,
        }


NOT_MEASURED: Map = {"averageEnqueueTime": None, "maxEnqueueTime": None, "minEnqueueTime": None}


def counted(counts: Counts) -> dict[str, int]:
    """Return what follows from the counts of queues."""
    size = counts.waiting + counts.in_flight
    ended = counts.before + counts.enqueued - size
    return {
        "size": size,
        "enqueueCount": counts.enqueued,
        "dequeueCount": ended,
        "dispatchCount": ended - counts.expired - counts.dropped + counts.in_flight,
        "expiredCount": counts.expired,
        "inflightCount": counts.in_flight,
    }


def cached(queues: Iterable[Queue]) -> Map:
    """Return what can be said of the messages of queues that wait in memory."""
    lanes = [lane for queue in queues for lane in queue.lanes]
    count = sum(len(lane.head) for lane in lanes)
    return {
        "messagesCached": count + sum(len(lane.later) for lane in lanes),
        "averageMessageSize": sum(lane.bytes for lane in lanes) / count if count else 0.0,
    }


def percent(usage: int, limit: int) -> int:
    """Return a share in whole percent."""
    return 100 * usage // limit if limit else 0
