"""How a SUBSCRIBE is granted: who gets what from where.

    one queue                       → a consumer of it, or a browser (`browser:true`)
    one or more topics, wildcards   → a queue of its own that is bound to them
    several queues, wildcards       → one subscription that takes from all (`core.several`)
    a topic under a durable name    → the queue of its durable subscription (`core.durable`)

Whatever may be refused is refused before anything has changed: a `Grant` says how it will begin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import NamedTuple, TypeVar

from broker.client import Client
from broker.consumer import Consumer, end_of_browsing, message_writer, names_of
from broker.core.browser import Browser
from broker.core.durable.queue import DurableQueue
from broker.core.event import ADVISORIES
from broker.core.message import Message
from broker.core.names import PEER, QUEUE, TOPIC, check_name, means_others, split, virtual_topic_of
from broker.core.pattern import is_pattern
from broker.core.policy import Policy
from broker.core.queue import Queue
from broker.core.several import Several
from broker.core.subscription import AUTO, Subscription
from broker.core.topic import Topic, TopicQueue
from broker.errors import Refusal
from broker.rights import ROAM
from broker.wish import UNLIMITED, Wish

Made = TypeVar("Made", bound=Queue | Topic)

DURABLE_PREFETCH = 100  # of a durable subscription, as in ActiveMQ


@dataclass(slots=True)
class Sources:
    """What a SUBSCRIBE takes from."""

    queues: list[Queue] = field(default_factory=list)
    topics: list[Topic] = field(default_factory=list)
    queue_patterns: list[str] = field(default_factory=list)  # names
    topic_patterns: list[str] = field(default_factory=list)
    policies: list[Policy] = field(default_factory=list)  # of all these

    @property
    def are_one(self) -> bool:
        """True when it is one queue or topic: all messages say the same destination."""
        return len(self.queues) + len(self.topics) == len(self.policies) == 1

    @property
    def have_topics(self) -> bool:
        """True when there is any topic, or pattern of topics."""
        return bool(self.topics or self.topic_patterns)


class Grant(NamedTuple):
    """What becomes of a SUBSCRIBE."""

    consumer: Consumer
    begin: Callable[[], None]  # nothing has changed before
    is_stored: bool = False  # the broker remembers it: its RECEIPT waits for the disk


class Granting:
    """Makes the consumers of one client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._numbers = count(1)

    def grant(self, id: str | None, wish: Wish) -> Grant:
        """Return what becomes of a wish. Raises `Refusal`."""
        if wish.durable_name:
            return self._durable(id, wish)
        sources = find_sources(wish, self._client)
        if wish.browse:
            return self._browser(id, wish, sources)
        return self._plain(id, wish, sources)

    def _plain(self, id: str | None, wish: Wish, sources: Sources) -> Grant:
        """A consumer of queues and topics, and of whatever patterns mean."""
        own = self._own_queue(wish, sources) if sources.have_topics else None
        queues = [*sources.queues, own] if own is not None else sources.queues
        several = None if len(queues) == 1 and not sources.queue_patterns else Several()
        consumer = self._consumer(id, wish, several or queues[0], sources.policies, sources.are_one)
        subscription, routes = consumer.subscription, self._client.broker.routes

        def begin() -> None:
            if several is None:
                join(queues[0], subscription)
            else:
                for queue in queues:
                    several.add(subscription, queue)
                take = self._if_allowed(partial(several.add, subscription, roams=True))
                for pattern in sources.queue_patterns:
                    routes.roam_queues(subscription, pattern, take, subscription.would_take)
            if own is not None:
                for topic in sources.topics:
                    own.bind(topic)
                bind = self._if_allowed(partial(own.bind, roams=True))
                for pattern in sources.topic_patterns:
                    routes.roam_topics(subscription, pattern, bind)

        stays = any(virtual_topic_of(queue.name) for queue in sources.queues)
        return Grant(consumer, begin, is_stored=stays)

    def _if_allowed(self, take: Callable[[Made], object]) -> Callable[[Made], None]:
        """Return what takes from those of the queues or topics that a wildcard means that the client may read."""
        may = self._client.clearance.may

        def take_if_allowed(made: Made) -> None:
            if may(ROAM, made.destination):
                take(made)

        return take_if_allowed

    def _own_queue(self, wish: Wish, sources: Sources) -> TopicQueue:
        """Return the queue of a subscriber to topics."""
        broker = self._client.broker
        name = [*(topic.name for topic in sources.topics), *sources.topic_patterns][0]
        policy = broker.routes.policies.for_topic(name)
        pending = policy.pending_limit
        return TopicQueue(
            broker,
            name,
            policy,
            pending if wish.pending is None else min(pending, wish.pending),
            wants=wish.wants,
            sender=self._client if wish.no_local else None,
            recent=wish.retroactive,
            tells=not sources.are_one,
        )

    def _browser(self, id: str | None, wish: Wish, sources: Sources) -> Grant:
        if not (sources.are_one and sources.queues):
            raise Refusal(
                "Only a queue can be browsed", "browser:true needs the destination of one queue."
            )
        client, number = self._client, str(next(self._numbers))
        names = names_of(id, wish.destination)
        deliver = message_writer([*names, ("browser", "true")], AUTO, number, client, {})
        end = end_of_browsing(names, client)
        browser = Browser(sources.queues[0], deliver, end, wish.wants)
        return Grant(Consumer(client, browser, id, wish, number), browser.start)

    def _durable(self, id: str | None, wish: Wish) -> Grant:
        client, topic = self._client, durable_topic(wish)
        client.clearance.check_durable(TOPIC + topic)
        client_id = "" if wish.shared else client.client_id
        if not wish.shared and not client_id:
            if client.version != "1.0":
                raise Refusal(
                    "A durable subscription needs a client-id",
                    "Add a header client-id to CONNECT: it and the name are the subscription's.",
                )
            client_id = wish.durable_name
        queue = client.broker.durables.subscribe(
            client_id, wish.durable_name, topic, wish.selector, wish.no_local, wish.shared
        )
        consumer = self._consumer(
            id, wish, queue, [queue.policy], not is_pattern(topic), DURABLE_PREFETCH
        )

        def begin() -> None:
            join(queue, consumer.subscription)
            if wish.no_local:
                queue.spare(client)

        return Grant(consumer, begin, is_stored=True)

    def _consumer(
        self,
        id: str | None,
        wish: Wish,
        queue: Queue | Several,
        policies: Sequence[Policy],
        are_one: bool,
        default: int = 0,
    ) -> Consumer:
        """Make a consumer. `are_one`: its messages say the destination that it named."""
        client, number = self._client, str(next(self._numbers))
        wish = replace(wish, prefetch=prefetch_for(wish, policies, client, default))
        names = names_of(id, wish.destination if are_one else "")
        in_flight: dict[str, Message] = {}
        deliver = message_writer(names, wish.mode, number, client, in_flight)
        subscription = Subscription(queue, wish.mode, wish.prefetch, deliver)
        subscription.in_flight = in_flight
        if not isinstance(queue, TopicQueue | DurableQueue):  # they choose what comes, for one
            subscription.wants = wish.wants
            subscription.rank, subscription.exclusive = wish.rank, wish.exclusive
        return Consumer(client, subscription, id, wish, number)


def join(queue: Queue, subscription: Subscription) -> None:
    """Let a consumer be served."""
    queue.join(subscription)
    queue.feed(subscription)


def find_sources(wish: Wish, client: Client) -> Sources:
    """Return what the destinations of a wish mean. Raises `Refusal`, having made none of them."""
    routes, sources = client.broker.routes, Sources()
    policies = routes.policies
    for element in wish.elements:
        check_source(element, client)
    for element in wish.elements:
        client.clearance.check_consume(element, wish.browse)
    for element in wish.elements:
        is_topic, name = element.startswith(TOPIC), split(element)[1]
        if means_others(element):
            (sources.topic_patterns if is_topic else sources.queue_patterns).append(name)
            sources.policies.append(
                policies.for_topic(name) if is_topic else policies.for_queue(name)
            )
            continue
        source = routes.source(element)
        if isinstance(source, Topic):
            sources.topics.append(source)
        else:
            sources.queues.append(source)
        sources.policies.append(source.policy)
    return sources


def check_source(element: str, client: Client) -> None:
    """Raise `Refusal` unless a client may consume from a destination: from its own, if it is temporary."""
    prefix, name = split(element)
    if prefix in (QUEUE, TOPIC):
        check_name(name)
        return
    if prefix == PEER:
        raise Refusal(
            f"Cannot subscribe to {element}",
            "Another broker's messages come to the queue here that they were sent to.",
        )
    client.broker.routes.source(element)
    if element not in client.own_names:
        raise Refusal(
            f"Cannot subscribe to a remote Temporary destination: {element}",
            "Only the connection that made it may consume from it.",
        )


def check_still(consumer: Consumer) -> None:
    """Raise `NotAuthorized` unless a client may still take from all that a consumer of its takes from."""
    clearance, wish, queue = consumer.client.clearance, consumer.wish, consumer.subscription.queue
    if wish.durable_name:
        clearance.check_durable(wish.elements[0])
        return
    for element in wish.elements:
        clearance.check_consume(element, wish.browse)
    if not any(map(means_others, wish.elements)):
        return
    for each in queue.parts if isinstance(queue, Several) else (queue,):
        for source in each.topics if isinstance(each, TopicQueue) else (each,):
            if source.destination not in wish.elements:
                clearance.check_roam(source.destination)


def durable_topic(wish: Wish) -> str:
    """Return the topic of a durable subscription. Raises `Refusal`."""
    [element, *others] = wish.elements
    if others or not element.startswith(TOPIC):
        raise Refusal(
            "Invalid Subscription: cannot durably subscribe to a Queue destination!",
            "A queue keeps its messages anyway; a durable subscription is for one topic.",
        )
    topic = check_name(element.removeprefix(TOPIC))
    if topic.startswith(ADVISORIES):
        raise Refusal(
            "Advisories are not stored", "Subscribe to them without a subscription's name."
        )
    return topic


def prefetch_for(wish: Wish, policies: Sequence[Policy], client: Client, default: int) -> int:
    """Return how many messages a consumer may have unacknowledged.

    What it asks for; else the least that a policy of its destinations says; else what the dialect or the
    options have, or `default`.
    """
    said = [policy.prefetch for policy in policies if policy.prefetch]
    if wish.prefetch or said:
        return wish.prefetch or min(said)
    return UNLIMITED if client.dialect.prefetch_unlimited else default or client.options.prefetch
