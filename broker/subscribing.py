"""SUBSCRIBE and UNSUBSCRIBE: what a client wants to get, and from where.

    one queue                       → a consumer of it, or a browser (`browser:true`)
    one or more topics, wildcards   → a queue of its own that is bound to them
    several queues, wildcards       → one subscription that takes from all (`core.several`)
    a topic under a durable name    → the queue of its durable subscription (`core.durable`)

Header names are ActiveMQ's; where others mean the same they are understood too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from broker.client import Client, first, number
from broker.consumer import Consumer, end_of_browsing, message_writer, names_of
from broker.core.browser import Browser
from broker.core.event import ADVISORIES, Event
from broker.core.pattern import is_pattern
from broker.core.policy import DEFAULT
from broker.core.queue import Queue
from broker.core.routes import QUEUE, TOPIC, TempQueue, TempTopic, check_name, virtual_topic_of
from broker.core.several import Several
from broker.core.subscription import AUTO, CLIENT, CLIENT_INDIVIDUAL, Subscription, Wants
from broker.core.topic import Topic, TopicQueue
from broker.errors import Refusal
from broker.filters import make_filter
from broker.stomp.frame import Frame

UNLIMITED = 2**31
DURABLE_PREFETCH = 100  # of a durable subscription, as in ActiveMQ
#: A durable subscription's name: ActiveMQ's header, as it was misspelt for years, and Artemis's.
DURABLE_NAMES = (
    "activemq.subscriptionName",
    "activemq.subcriptionName",
    "durable-subscription-name",
    "durable-subscriber-name",
)
#: RabbitMQ: the subscription's id is the name, and several connections may share it.
SHARED = ("durable", "persistent")
PREFETCH = ("activemq.prefetchSize", "prefetch-count", "credit")
RANK = ("activemq.priority", "x-priority")
NO_LOCAL = ("activemq.noLocal", "no-local")


@dataclass(slots=True)
class Wish:
    """What a SUBSCRIBE asks for."""

    destination: str  # as the client wrote it
    elements: list[str]  # as everybody knows them
    mode: str
    prefetch: int  # 0: it does not say
    selector: str
    wants: Wants | None
    rank: int
    exclusive: bool
    no_local: bool
    retroactive: bool
    pending: int | None  # messages that may wait for a slow subscriber of a topic
    browse: bool
    durable_name: str
    shared: bool


class Subscriptions:
    """What one client is subscribed to."""

    def __init__(self, client: Client) -> None:
        self.consumers: dict[str, Consumer] = {}  # by number, hence in the order of SUBSCRIBE
        self._client = client
        self._paused = False  # the client reads too slowly to be handed more
        self._numbers = count(1)

    # What the client says.

    def subscribe(self, frame: Frame) -> None:
        """Do a SUBSCRIBE. Raises `Refusal`, having changed nothing."""
        headers, client = frame.headers, self._client
        id = headers.get("id")
        if id is None and client.version != "1.0":
            raise Refusal(
                "SUBSCRIBE received without a subscription id!",
                f"STOMP {client.version} needs a header id, unique on the connection.",
            )
        if id is not None and any(consumer.id == id for consumer in self.consumers.values()):
            raise Refusal(
                f"Duplicated subscription identifier: {id}",
                "Every subscription of a connection needs an id of its own.",
            )
        start = self._make(id, read_wish(headers, client))
        client.say_receipt(headers)  # before the first MESSAGE
        self._begin(start)

    def subscribe_to_replies(self, destination: str) -> None:
        """Subscribe a client to the replies that it expects, as RabbitMQ does for reply-to."""
        if all(consumer.destination != destination for consumer in self.consumers.values()):
            headers = {"destination": destination, "id": destination, "ack": AUTO}
            self._begin(self._make(destination, read_wish(headers, self._client)))

    def unsubscribe(self, frame: Frame) -> None:
        """Do an UNSUBSCRIBE. Raises `Refusal`."""
        headers, client = frame.headers, self._client
        id, destination = headers.get("id"), headers.get("destination")
        name = durable_name(headers, id)
        if name:
            client_id = "" if is_shared(headers) else client.client_id or name
            if is_shared(headers):  # RabbitMQ: one frame ends the consumer and the subscription
                self._end(lambda consumer: consumer.id == id)
            client.broker.durables.unsubscribe(client_id, name)
            client.promise_receipt(headers)
            return
        if id is None and client.version != "1.0":
            raise Refusal(
                "UNSUBSCRIBE received without a subscription id!",
                f"STOMP {client.version} needs the header id of the SUBSCRIBE.",
            )
        if id is None and destination is None:
            raise Refusal(
                "Must specify the subscriptionId or the destination you are unsubscribing from",
                "Repeat the header id or destination of the SUBSCRIBE.",
            )
        if not self._end(
            lambda consumer: (
                consumer.id == id if id is not None else consumer.destination == destination
            )
        ):
            raise Refusal(
                "No subscription matched.",
                f"This connection has no subscription {id or destination}.",
            )
        client.say_receipt(headers)

    # What becomes of the link.

    def pause(self, paused: bool) -> None:
        """Hand over no more messages, or go on."""
        self._paused = paused
        for consumer in list(self.consumers.values()):
            if paused:
                consumer.subscription.pause()
            else:
                consumer.subscription.resume()

    def stop(self) -> list[Consumer]:
        """Take no more messages; return who must be closed."""
        consumers = list(self.consumers.values())
        self.consumers.clear()
        for consumer in consumers:
            self._settle(consumer)
            consumer.subscription.stop()
            self._client.broker.tell(Event("Consumer", consumer, gone=True))
        return consumers

    def _begin(self, start: Callable[[], None]) -> None:
        """Begin the deliveries of the newest consumer."""
        start()
        consumer = next(reversed(self.consumers.values()))
        self._client.broker.tell(Event("Consumer", consumer))

    def _end(self, meant: Callable[[Consumer], bool]) -> bool:
        for consumer in self.consumers.values():
            if meant(consumer):
                del self.consumers[consumer.number]
                self._settle(consumer)
                consumer.subscription.close()
                self._client.broker.tell(Event("Consumer", consumer, gone=True))
                return True
        return False

    def _settle(self, consumer: Consumer) -> None:
        if consumer.roams:
            self._client.broker.routes.settle_down(consumer.subscription)

    # How a wish is granted. Each returns what begins the deliveries.

    def _make(self, id: str | None, wish: Wish) -> Callable[[], None]:
        if wish.durable_name:
            return self._make_durable(id, wish)
        patterns = [element for element in wish.elements if means_others(element)]
        sources = [
            self._client.broker.routes.source(element)
            for element in wish.elements
            if element not in patterns
        ]
        for source in sources:
            self._check_owner(source)
        queues = [source for source in sources if isinstance(source, Queue)]
        topics = [source for source in sources if isinstance(source, Topic)]
        if wish.browse:
            if len(wish.elements) > 1 or not queues:
                raise Refusal(
                    "Only a queue can be browsed", "browser:true needs the destination of a queue."
                )
            return self._make_browser(id, wish, queues[0])
        roaming_topics = [each for each in patterns if each.startswith(TOPIC)]
        roaming_queues = [each for each in patterns if not each.startswith(TOPIC)]
        own: TopicQueue | None = None
        if topics or roaming_topics:
            own = self._own_queue(wish, topics, roaming_topics)
            if not queues and not roaming_queues:
                several_topics = len(wish.elements) > 1 or bool(roaming_topics)
                return self._make_simple(
                    id, wish, own, "" if several_topics else wish.destination, roaming_topics
                )
        if len(wish.elements) == 1 and queues:
            return self._make_simple(id, wish, queues[0], wish.destination)
        return self._make_several(id, wish, queues, roaming_queues, own, roaming_topics)

    def _make_simple(
        self,
        id: str | None,
        wish: Wish,
        queue: Queue,
        destination: str,
        patterns: Sequence[str] = (),
    ) -> Callable[[], None]:
        subscription = self._join(id, wish, queue, destination)
        if isinstance(queue, TopicQueue):
            for pattern in patterns:
                self._roam_topics(subscription, pattern, queue, wish)
        return lambda: queue.feed(subscription)

    def _make_several(
        self,
        id: str | None,
        wish: Wish,
        queues: list[Queue],
        roaming_queues: list[str],
        own: TopicQueue | None,
        roaming_topics: list[str],
    ) -> Callable[[], None]:
        several = Several()
        subscription = self._subscription(id, wish, several, "", DEFAULT.prefetch)
        routes = self._client.broker.routes

        def start() -> None:
            if own is not None:
                several.add(subscription, own)
                for pattern in roaming_topics:
                    self._roam_topics(subscription, pattern, own, wish)
            for queue in queues:
                several.add(subscription, queue)

            for pattern in roaming_queues:
                routes.roam_queues(
                    subscription,
                    pattern,
                    lambda queue: several.add(subscription, queue, roams=True),
                )

        return start

    def _roam_topics(
        self, subscription: Subscription, pattern: str, own: TopicQueue, wish: Wish
    ) -> None:
        sender = self._sender(wish)
        self._client.broker.routes.roam_topics(
            subscription,
            pattern,
            lambda topic: own.bind(topic, wish.wants, topic.destination, sender, wish.retroactive),
        )

    def _own_queue(self, wish: Wish, topics: list[Topic], patterns: list[str]) -> TopicQueue:
        """Make the queue of a subscriber to topics."""
        broker = self._client.broker
        policies = broker.routes.policies
        name = topics[0].name if topics else patterns[0].removeprefix(TOPIC)
        policy = policies.for_topic(name)
        pending = policy.pending_limit if wish.pending is None else wish.pending
        own = TopicQueue(broker, name, policy, pending)
        several = len(wish.elements) > 1
        for topic in topics:
            own.bind(
                topic,
                wish.wants,
                topic.destination if several or patterns else "",
                self._sender(wish),
                wish.retroactive,
            )
        return own

    def _make_browser(self, id: str | None, wish: Wish, queue: Queue) -> Callable[[], None]:
        client, number = self._client, str(next(self._numbers))
        names = names_of(id, wish.destination)
        deliver = message_writer([*names, ("browser", "true")], AUTO, number, client)
        browser = Browser(queue, deliver, end_of_browsing(names, client), wish.wants)
        self._add(Consumer(client, browser, id, wish, number))
        return browser.start

    def _make_durable(self, id: str | None, wish: Wish) -> Callable[[], None]:
        client = self._client
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
        wish.wants = None  # the subscription's own affair
        subscription = self._join(id, wish, queue, wish.destination, DURABLE_PREFETCH)
        return lambda: queue.feed(subscription)

    def _join(
        self, id: str | None, wish: Wish, queue: Queue, destination: str, prefetch: int = 0
    ) -> Subscription:
        """Make the consumer of one queue. `destination`: what its messages say, "" if it differs."""
        if not destination or isinstance(queue, TopicQueue):
            wish.wants, wish.rank, wish.exclusive = None, 0, False  # the bindings', or pointless
        subscription = self._subscription(
            id, wish, queue, destination, queue.policy.prefetch or prefetch
        )
        queue.join(subscription)
        return subscription

    def _subscription(
        self,
        id: str | None,
        wish: Wish,
        queue: Queue | Several,
        destination: str,
        prefetch: int,
    ) -> Subscription:
        client, number = self._client, str(next(self._numbers))
        deliver = message_writer(names_of(id, destination), wish.mode, number, client)
        if not wish.prefetch:
            unlimited = client.dialect.prefetch_unlimited
            wish.prefetch = UNLIMITED if unlimited else prefetch or client.options.prefetch
        subscription = Subscription(
            queue, wish.mode, wish.prefetch, deliver, wish.wants, wish.rank, wish.exclusive
        )
        self._add(Consumer(client, subscription, id, wish, number, roams=not destination))
        return subscription

    def _add(self, consumer: Consumer) -> None:
        consumer.subscription.paused = self._paused
        self.consumers[consumer.number] = consumer

    def _sender(self, wish: Wish) -> object:
        return self._client if wish.no_local else None

    def _check_owner(self, source: Queue | Topic) -> None:
        if isinstance(source, TempQueue | TempTopic) and (
            source not in self._client.temporaries.values()
        ):
            raise Refusal(
                f"Cannot subscribe to a remote Temporary destination: {source.destination}",
                "Only the connection that made it may consume from it.",
            )


def read_wish(headers: dict[str, str], client: Client) -> Wish:
    """Return what a SUBSCRIBE asks for. Raises `Refusal`."""
    destination = headers.get("destination", "")
    if not destination.strip():
        raise Refusal(
            "Invalid empty or 'null' Destination header",
            "Add a header destination:/queue/NAME or destination:/topic/NAME.",
        )
    mode = headers.get("ack", AUTO)
    if mode not in (AUTO, CLIENT, CLIENT_INDIVIDUAL):
        if client.dialect.unknown_ack_refused:
            raise Refusal(f"Invalid ack mode: {mode}", "ack is auto, client or client-individual.")
        mode = AUTO
    browse = headers.get("browser") == "true"
    if browse and client.version == "1.0":
        raise Refusal("Queue Browser feature only valid for Stomp v1.1+ clients!")
    resolved = client.resolve(destination)
    elements = [each.strip() for each in resolved.split(",") if each.strip()]
    selector = headers.get("selector", "")
    pending = number(
        headers, "activemq.maximumPendingMessageLimit", -1, "a whole number of messages, -1: none"
    )
    return Wish(
        destination=destination,
        elements=elements,
        mode=mode,
        prefetch=read_prefetch(headers),
        selector=selector,
        wants=make_filter(selector, destination) if selector.strip() else None,
        rank=next(
            (number(headers, name, 0, "a whole number") for name in RANK if name in headers), 0
        ),
        exclusive=headers.get("activemq.exclusive") == "true",
        no_local=first(headers, NO_LOCAL) == "true",
        retroactive=headers.get("activemq.retroactive") == "true",
        pending=None if pending < 0 else pending,
        browse=browse,
        durable_name=durable_name(headers, headers.get("id")),
        shared=is_shared(headers),
    )


def read_prefetch(headers: dict[str, str]) -> int:
    """Return how many messages a SUBSCRIBE wants unacknowledged, 0 if it does not say."""
    for name in PREFETCH:
        if name not in headers:
            continue
        # Apollo's credit may go on with bytes.
        text = headers[name].partition(",")[0] if name == "credit" else headers[name]
        prefetch = number({name: text}, name, 0, "a whole number of messages")
        if prefetch == 0 and name == "prefetch-count":  # RabbitMQ's word for no limit
            return UNLIMITED
        if prefetch < 1:
            raise Refusal(f"{name} must be at least 1, not {prefetch}")
        return prefetch
    return 0


def is_shared(headers: dict[str, str]) -> bool:
    """Tell whether a frame means a durable subscription as RabbitMQ has them."""
    return first(headers, DURABLE_NAMES) is None and any(
        headers.get(name) == "true" for name in SHARED
    )


def durable_name(headers: dict[str, str], id: str | None) -> str:
    """Return the name of the durable subscription that a frame means, or "". Raises `Refusal`."""
    if is_shared(headers):
        if not id:
            raise Refusal("Missing Header", "Header 'id' is required for durable subscriptions")
        return id
    return first(headers, DURABLE_NAMES) or ""


def means_others(element: str) -> bool:
    """Tell whether a consumer's destination is a pattern; a virtual topic's consumer has one in its name."""
    name = element.removeprefix(TOPIC).removeprefix(QUEUE)
    return is_pattern(name) and not (not element.startswith(TOPIC) and virtual_topic_of(name))
