"""Advisories: what happens in the broker, told on the topics `ActiveMQ.Advisory.…` while somebody listens.

As ActiveMQ (measured of 5.17, and its `AdvisoryBroker`); X is a destination as in `Queue.orders`, `Topic.news`:

    Connection                              a client came: ConnectionInfo, or went: RemoveInfo
    Consumer.X                              a subscription: ConsumerInfo, or its end: RemoveInfo
    Queue, Topic, TempQueue, TempTopic      made or removed: DestinationInfo with operationType 0 or 1
    MessageDLQd.X, Expired.X                a message is a dead letter, has expired
    MessageDiscarded.X                      it was given up because of a limit
    SlowConsumer.X                          more messages wait for a topic's subscriber than it has at once
    FULL.X, FastProducer.X                  a queue is at its limit; so a SEND to it is made to wait
    MessageDelivered.X, MessageConsumed.X   every message, where the policy asks for it

The body is JSON with the words of ActiveMQ's commands. Whoever subscribes to one of the first three lines is
told first who and what is there (not by a wildcard that leaves the line open, as in ActiveMQ).

What is not there: `Producer.X`, because STOMP knows no producers (nor does ActiveMQ tell of any that speaks STOMP);
`NoConsumer.X`, which would be a question for each message; bridges and masters.

Advisories do not go through topics, so that destinations nobody keeps leave no trace: they are put into the
subscribers' own queues. They are never stored and never themselves advised, and without anybody who listens an
event costs the making of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

from broker.clearance import Clearance
from broker.client import Client, Producer
from broker.consumer import Consumer
from broker.core.broker import Broker
from broker.core.event import ADVISORIES, Event
from broker.core.message import Message
from broker.core.names import TEMP_QUEUE, TEMP_TOPIC, TOPIC
from broker.core.pattern import compile_pattern, is_pattern
from broker.core.queue import Queue
from broker.core.subscription import Wants
from broker.core.temporary import TempQueue, TempTopic
from broker.core.topic import Topic, TopicQueue
from broker.filters import make_filter
from broker.qualified import as_json, place_of, qualified, split
from broker.rights import READ
from broker.tail import message_id
from broker.watch.author import JSON, Author, to_json
from broker.watch.presence import Presence, meant_by, queues_of

#: Of these whoever comes later is told what is there.
STATES = ("Connection", "Consumer", "Queue", "Topic", "TempQueue", "TempTopic")
ANY = ""  # kind of event
ADDED, REMOVED = 0, 1  # operationType of a DestinationInfo


class Advisory(NamedTuple):
    """What is told of an event."""

    topic: str  # its name behind `ActiveMQ.Advisory.`
    command: dict[str, Any]
    headers: dict[str, str]


class Watcher(NamedTuple):
    """Somebody who listens."""

    queue: TopicQueue
    matches: list[Callable[[str], bool]]  # names of topics that it listens to
    kinds: set[str]  # of events that these may be about
    wants: Wants | None  # its selector
    clearance: Clearance  # what its client may read


class Advisories:
    """Tells those who listen."""

    def __init__(self, broker: Broker, presence: Presence, author: Author) -> None:
        self._broker = broker
        self._presence = presence
        self._author = author
        self._watchers: dict[Consumer, Watcher] = {}
        self._wanted: set[str] = set()  # kinds of events that somebody listens to, or ANY
        self._telling = False
        #: What is to be known whoever listens.
        self._notes: dict[str, Callable[[Event], None]] = {
            **presence.notes,
            "Consumer": self._note_consumer,
        }
        self._advisories: dict[str, Callable[[Event], Iterator[Advisory]]] = {
            "Connection": self._of_connection,
            "Consumer": self._of_consumer,
            "Queue": self._of_destination,
            "Topic": self._of_destination,
            "TempQueue": self._of_destination,
            "TempTopic": self._of_destination,
            "SlowConsumer": self._of_slow_consumer,
            "FastProducer": self._of_fast_producer,
            "FULL": self._of_full_queue,
        }

    def tell(self, event: Event) -> None:
        """Something has happened."""
        note = self._notes.get(event.kind)
        if note is not None:
            note(event)
        wanted = self._wanted
        if wanted and not self._telling and (event.kind in wanted or ANY in wanted):
            self._telling = True  # what comes of telling is not told
            try:
                watchers = [
                    watcher
                    for consumer, watcher in self._watchers.items()
                    if consumer is not event.source  # who comes is told of itself with the others
                ]
                for advisory in self._of(event):
                    self._publish(advisory, watchers)
            finally:
                self._telling = False

    def _note_consumer(self, event: Event) -> None:
        """A consumer has come or gone; perhaps it listens."""
        consumer = cast(Consumer, event.source)
        self._presence.note_consumer(consumer, event.gone)
        if not event.gone:
            self._meet(consumer)
        elif consumer in self._watchers:
            del self._watchers[consumer]
            self._note_wanted()

    def _note_wanted(self) -> None:
        self._wanted = {kind for watcher in self._watchers.values() for kind in watcher.kinds}

    def _publish(self, advisory: Advisory, watchers: list[Watcher]) -> None:
        topic = ADVISORIES + advisory.topic
        listening = [
            watcher
            for watcher in watchers
            if any(matches(topic) for matches in watcher.matches)
            and watcher.clearance.may(READ, TOPIC + topic)
        ]
        if not listening:
            return
        presence = self._presence
        headers = {
            "type": "Advisory",
            "transformation": "jms-advisory-json",
            **JSON,
            "originBrokerName": presence.name,
            "originBrokerId": presence.id,
            "originBrokerURL": presence.url,
            **advisory.headers,
        }
        message = self._author.write(headers, to_json(advisory.command))
        message.mark().destination = TOPIC + topic
        for watcher in listening:
            if watcher.wants is None or watcher.wants(message):
                watcher.queue.put(message)

    # Who listens.

    def _meet(self, consumer: Consumer) -> None:
        wish = consumer.wish
        names = [
            element.removeprefix(TOPIC)
            for element in wish.elements
            if element.startswith(TOPIC) and may_mean_advisories(element.removeprefix(TOPIC))
        ]
        own = [queue for queue in queues_of(consumer.subscription) if isinstance(queue, TopicQueue)]
        if not names or not own:
            return
        self._watchers[consumer] = Watcher(
            own[0],
            [compile_pattern(name) for name in names],
            {kind_in(name) for name in names},
            make_filter(wish.selector, wish.destination) if wish.selector.strip() else None,
            consumer.client.clearance,
        )
        self._note_wanted()
        states = [
            state
            for state in STATES
            if any(begins_with(name, ADVISORIES + state) for name in names)
        ]
        if states:
            # Who comes from now on is told as it happens. There may be many: what is kept of each is little.
            present = [(state, self._present(state)) for state in states]
            self._author.gradually(
                lambda: (Event(state, source) for state, sources in present for source in sources),
                lambda event, read: self._tell_present(event, consumer),
            )

    def _present(self, state: str) -> list[object]:
        """Return what is there."""
        routes = self._broker.routes
        there: dict[str, Callable[[], list[object]]] = {
            "Connection": lambda: [*self._presence.clients],
            "Consumer": lambda: [*self._presence.consumers.values()],
            "Queue": lambda: [*routes.queues.values()],
            "Topic": lambda: [*routes.topics.values()],
            "TempQueue": lambda: [t for t in routes.temporaries() if isinstance(t, TempQueue)],
            "TempTopic": lambda: [t for t in routes.temporaries() if isinstance(t, TempTopic)],
        }
        return there[state]()

    def _tell_present(self, event: Event, consumer: Consumer) -> None:
        watcher = self._watchers.get(consumer)
        if watcher is None or not self._is_there(event.source):
            return
        for advisory in self._of(event):
            self._publish(advisory, [watcher])

    def _is_there(self, source: object) -> bool:
        """Tell whether something has not gone since: its end was told already."""
        presence, routes = self._presence, self._broker.routes
        match source:
            case Client():
                return source in presence.clients
            case Consumer():
                return source.subscription in presence.consumers
            case TempQueue() | TempTopic():
                return not source.gone
            case Queue():
                return routes.queues.get(source.name) is source
            case Topic():
                return routes.topics.get(source.name) is source
        return False

    # What is told.

    def _of(self, event: Event) -> Iterator[Advisory]:
        return self._advisories.get(event.kind, self._of_message)(event)

    def _of_connection(self, event: Event) -> Iterator[Advisory]:
        client = cast(Client, event.source)
        if event.gone:
            command = removal("ConnectionId", value=client.session)
        else:
            command = {
                "ConnectionInfo": {
                    "connectionId": {"value": client.session},
                    "clientId": client.client_id or client.session,
                    "userName": client.login,
                    "password": "",
                }
            }
        yield Advisory("Connection", command, {})

    def _of_consumer(self, event: Event) -> Iterator[Advisory]:
        consumer = cast(Consumer, event.source)
        for element in consumer.wish.elements:
            if element.startswith(TOPIC + ADVISORIES):
                continue
            if event.gone:
                command = removal("ConsumerId", **consumer_id(consumer))
            else:
                command = {"ConsumerInfo": consumer_info(consumer, element)}
            count = {"consumerCount": str(self._count(element))}
            yield Advisory(f"Consumer.{place_of(element)}", command, count)

    def _count(self, element: str) -> int:
        """Return how many consumers a destination has, or all those that a pattern means."""
        routes = self._broker.routes
        kind, name = split(element)
        sources: Sequence[Queue | Topic]
        if kind in (TEMP_QUEUE, TEMP_TOPIC):
            temporary = routes.get(element)
            sources = [temporary] if isinstance(temporary, TempQueue | TempTopic) else []
        else:
            sources = meant_by(name, routes.topics if kind == TOPIC else routes.queues)
        return sum(self._presence.consumers_of(source) for source in sources)

    def _of_destination(self, event: Event) -> Iterator[Advisory]:
        source = cast("Queue | Topic", event.source)
        if source.name.startswith(ADVISORIES):
            return
        info: dict[str, Any] = {
            "destination": as_json(source.destination),
            "operationType": REMOVED if event.gone else ADDED,
        }
        if isinstance(source, TempQueue | TempTopic):
            info["connectionId"] = {"value": source.name.rpartition("-")[0]}
        yield Advisory(event.kind, {"DestinationInfo": info}, {})

    def _of_message(self, event: Event) -> Iterator[Advisory]:
        source, message = cast("Queue | Topic", event.source), event.message
        if message is None:
            return
        extra = message.extra
        destination = extra.destination if extra and extra.destination else source.destination
        if destination.startswith(TOPIC + ADVISORIES):
            return
        headers = {  # misspelt as in ActiveMQ, whose clients look for them
            "orignalMessageId": message_id(message.tail),
            "orignalDestination": qualified(destination),
        }
        if event.kind == "MessageDiscarded" and isinstance(source, Queue):
            headers["discardedCount"] = str(source.dropped)
            if isinstance(source, TopicQueue):
                headers |= self._consumer_header(source)
        command = {"ActiveMQMessage": message_info(message, destination)}
        yield Advisory(f"{event.kind}.{place_of(destination)}", command, headers)

    def _of_slow_consumer(self, event: Event) -> Iterator[Advisory]:
        queue = cast(TopicQueue, event.source)
        consumer = self._presence.consumer_of(queue)
        if consumer is not None and not queue.name.startswith(ADVISORIES):
            command = {"ConsumerInfo": consumer_info(consumer, queue.destination)}
            yield Advisory(
                f"SlowConsumer.{place_of(queue.destination)}", command, self._consumer_header(queue)
            )

    def _of_fast_producer(self, event: Event) -> Iterator[Advisory]:
        producer = cast(Producer, event.source)
        session = producer.client.session
        id = {"connectionId": session, "sessionId": -1, "value": 1}
        command = {"ProducerInfo": {"producerId": id, "destination": as_json(producer.destination)}}
        yield Advisory(
            f"FastProducer.{place_of(producer.destination)}", command, {"producerId": session}
        )

    def _of_full_queue(self, event: Event) -> Iterator[Advisory]:
        queue = cast(Queue, event.source)
        many = queue.policy.max_messages and queue.waiting >= queue.policy.max_messages
        usage = ("messages", queue.waiting) if many else ("memory", queue.charged)
        yield Advisory(
            f"FULL.{place_of(queue.destination)}",
            {},
            {"usageName": usage[0], "usageCount": str(usage[1])},
        )

    def _consumer_header(self, queue: TopicQueue) -> dict[str, str]:
        consumer = self._presence.consumer_of(queue)
        if consumer is None:
            return {}
        return {"consumerId": f"{consumer.client.session}:-1:{consumer.number}"}


def may_mean_advisories(name: str) -> bool:
    """Tell whether a topic, or a pattern, is or means advisories."""
    if not is_pattern(name):
        return name.startswith(ADVISORIES)
    for part, wanted in zip(name.split("."), ADVISORIES.split("."), strict=False):
        if part == ">":
            return True
        if part not in ("*", wanted) and wanted:
            return False
    return name.count(".") >= ADVISORIES.count(".")


def kind_in(name: str) -> str:
    """Return the kind of event that a name of such a topic, or a pattern of it, is about."""
    kind = name.split(".")[ADVISORIES.count(".") :][:1]
    return ANY if not kind or kind[0] in ("*", ">") else kind[0]


def begins_with(name: str, topic: str) -> bool:
    """Tell whether a name is a topic or one below it."""
    return name == topic or name.startswith(topic + ".")


def removal(kind: str, **id: Any) -> dict[str, Any]:
    """Return the command that says somebody has gone."""
    return {"RemoveInfo": {"objectId": {"@class": kind, **id}}}


def consumer_id(consumer: Consumer) -> dict[str, Any]:
    """Return what names a consumer: STOMP has no sessions, and ActiveMQ writes -1."""
    return {
        "connectionId": consumer.client.session,
        "sessionId": -1,
        "value": int(consumer.number),
    }


def consumer_info(consumer: Consumer, destination: str) -> dict[str, Any]:
    """Return what a consumer asked for, at one of its destinations."""
    wish = consumer.wish
    info: dict[str, Any] = {
        "consumerId": consumer_id(consumer),
        "clientId": consumer.client.client_id or consumer.client.session,
        "destination": as_json(destination),
        "prefetchSize": wish.prefetch,
        "maximumPendingMessageLimit": wish.pending or 0,
        "browser": wish.browse,
        "noLocal": wish.no_local,
        "exclusive": wish.exclusive,
        "retroactive": wish.retroactive,
        "priority": wish.rank,
    }
    if wish.selector:
        info["selector"] = wish.selector
    if wish.durable_name:
        info["subscriptionName"] = wish.durable_name
    return info


def message_info(message: Message, destination: str) -> dict[str, Any]:
    """Return what the broker knows of a message; not its body, as in ActiveMQ."""
    info: dict[str, Any] = {
        "messageId": message_id(message.tail),
        "destination": as_json(destination),
        "expiration": message.expires,
        "persistent": message.durable,
        "priority": message.priority,
        "redeliveryCounter": message.returns,
        "size": len(message.tail),
    }
    if message.extra is not None and message.extra.group:
        info["groupID"] = message.extra.group
    return info
