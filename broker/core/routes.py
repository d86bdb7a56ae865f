"""Destination name → where it leads, made on first use.

A destination is a prefix and a name: `/queue/NAME`, `/topic/NAME`; a name without a prefix is a queue, as
ActiveMQ has it, and blanks around it do not count. Names are case-sensitive; slashes and dots inside are
part of the name. Beyond that, as in ActiveMQ:

- `/queue/a,/topic/b,c` is all of them: a SEND goes to each;
- `a.*`, `a.>` are for consumers: whatever queue or topic has such a name, now or later;
- `/remote-temp-queue/NAME` and `/remote-temp-topic/NAME` belong to a connection and end with it;
- what is sent to `/topic/VirtualTopic.X` also goes to every queue `Consumer.ANY.VirtualTopic.X`;
- an operator may compose a destination of others (`CompositeRule`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from broker.core.composite import CompositeRule
from broker.core.event import Event
from broker.core.message import Message
from broker.core.pattern import compile_pattern, is_pattern
from broker.core.policy import DEFAULT, Policies, Policy
from broker.core.queue import Queue
from broker.core.subscription import Wants
from broker.core.topic import Topic
from broker.errors import Refusal

if TYPE_CHECKING:
    from broker.core.broker import Broker


QUEUE, TOPIC = "/queue/", "/topic/"
TEMP_QUEUE, TEMP_TOPIC = "/remote-temp-queue/", "/remote-temp-topic/"
UNRESOLVED = ("/temp-queue/", "/temp-topic/")  # mean something only to a connection
NAME_BYTES = 255  # of a destination's name, in UTF-8
VIRTUAL, CONSUMER = "VirtualTopic.", "Consumer."
HIDDEN = "\0"  # begins the names of stored queues that are no destinations
DEEPEST = 8  # composites of composites

Made = TypeVar("Made", Queue, Topic)


class Route(Protocol):
    """Where a SEND can go."""

    @property
    def policy(self) -> Policy:
        """What an operator says about it."""

    @property
    def common(self) -> bool:
        """True when a SEND need not ask for the policy."""

    @property
    def durable(self) -> bool:
        """True when somebody there stores messages."""

    @property
    def destination(self) -> str:
        """What clients call it."""

    def put(self, message: Message) -> None:
        """Take a message."""

    def put_from(self, sender: object) -> Callable[[Message], None]:
        """Return the function that takes the messages of a sender."""

    def limits(self) -> Sequence[Queue]:
        """Return the queues whose limits a SEND must respect."""


class Fanout:
    """Several routes that get every message, each one of its own."""

    policy = DEFAULT

    def __init__(
        self,
        broker: Broker,
        destination: str,
        members: Sequence[tuple[Route, Wants | None]],
        origin: str = "",
    ) -> None:
        """`origin`: what the copies say about where they were sent."""
        self.destination = destination
        self._broker = broker
        self._members = members
        self._origin = origin

    @property
    def durable(self) -> bool:
        """True when one of them stores messages."""
        return any(route.durable for route, _ in self._members)

    @property
    def common(self) -> bool:
        """True when a SEND need not ask for limits."""
        return not self.limits()

    def put(self, message: Message) -> None:
        """Give everybody a copy."""
        for route, wants in self._members:
            if wants is None or wants(message):
                twin = self._broker.twin(message, message.durable and route.durable)
                self._broker.fit(twin, route.policy)
                if self._origin and route.destination != self._origin:
                    twin.tail = self._broker.annotate(
                        twin.tail, {"original-destination": self._origin}
                    )
                route.put(twin)

    def put_from(self, sender: object) -> Callable[[Message], None]:
        """Return the function that takes the messages of a sender."""
        return self.put

    def limits(self) -> Sequence[Queue]:
        """Return the queues whose limits a SEND must respect."""
        return [queue for route, _ in self._members for queue in route.limits()]


class Service:
    """A destination that answers instead of keeping: `answer` is called with each message."""

    durable = False
    policy = DEFAULT
    common = True

    def __init__(self, destination: str, answer: Callable[[Message], None]) -> None:
        self.destination = destination
        self.put = answer

    def put_from(self, sender: object) -> Callable[[Message], None]:
        """Return the function that takes the messages of a sender."""
        return self.put

    def limits(self) -> Sequence[Queue]:
        """It has none."""
        return ()


class Forward:
    """Puts what is sent to a virtual topic into the queue of one of its consumers."""

    def __init__(self, broker: Broker, queue: Queue, topic: Topic) -> None:
        self.queue = queue
        self._broker = broker
        self._note = {"original-destination": topic.destination}

    def put(self, message: Message) -> None:
        """Take a message of the topic."""
        twin = self._broker.twin(message, message.durable)
        self._broker.fit(twin, self.queue.policy)
        twin.tail = self._broker.annotate(twin.tail, self._note)
        self.queue.put(twin)

    def limits(self) -> Sequence[Queue]:
        """Return the queues whose limits a SEND must respect."""
        return self.queue.limits()


class TempQueue(Queue):
    """A queue that belongs to a connection and ends with it."""

    durable = False

    def __init__(self, broker: Broker, name: str, policy: Policies) -> None:
        super().__init__(broker, -1, name, policy.for_queue(name))
        self.gone = False

    @property
    def destination(self) -> str:
        """What other connections call it."""
        return TEMP_QUEUE + self.name

    def put(self, message: Message) -> None:
        """Take a message. Raises `Refusal` when its owner has gone."""
        if self.gone:
            raise does_not_exist(self.destination)
        super().put(message)


class TempTopic(Topic):
    """A topic that belongs to a connection and ends with it."""

    def __init__(self, broker: Broker, name: str, policy: Policies) -> None:
        super().__init__(broker, name, policy.for_topic(name))
        self.gone = False

    @property
    def destination(self) -> str:
        """What other connections call it."""
        return TEMP_TOPIC + self.name

    def put(self, message: Message) -> None:
        """Take a message. Raises `Refusal` when its owner has gone."""
        if self.gone:
            raise does_not_exist(self.destination)
        super().put(message)


@dataclass(frozen=True, slots=True)
class Roaming(Generic[Made]):
    """Somebody who takes from whatever a pattern means."""

    matches: Callable[[str], bool]
    join: Callable[[Made], None]

    def meet(self, name: str, made: Made) -> None:
        """There is a queue or topic of this name."""
        if self.matches(name):
            self.join(made)


class Routes:
    """Every destination in use."""

    def __init__(self, broker: Broker, policies: Policies) -> None:
        self._broker = broker
        self.policies = policies
        self._by_destination: dict[str, Route] = {}  # as clients write it; several may mean one
        self.get = self._by_destination.get  # for those who asked before
        self.queues: dict[str, Queue] = {}
        self.topics: dict[str, Topic] = {}
        self.services: dict[str, Callable[[str], Service | None]] = {}  # prefix → for a destination
        self.changes = 0  # goes up when what others remember of a destination is void
        self._next_number = 1
        self._hidden: dict[str, int] = {}  # stored queues that are no destinations: name → number
        self._temporary: dict[str, TempQueue | TempTopic] = {}
        self._virtual: dict[Queue, Callable[[str], bool]] = {}  # consumers of virtual topics
        self._rules: dict[str, CompositeRule] = {}
        self._roaming_queues: dict[object, Roaming[Queue]] = {}
        self._roaming_topics: dict[object, Roaming[Topic]] = {}

    # Where a SEND goes.

    def find(self, destination: str, depth: int = 0) -> Route:
        """Return where a SEND to a destination leads. Raises `Refusal` for a name that cannot be one."""
        route = self._by_destination.get(destination)
        if route is None:
            route = self._make(destination, depth)
            self._by_destination[destination] = route
        return route

    def changed(self) -> None:
        """What others remember of destinations is void."""
        self.changes += 1

    # Who takes from where.

    def source(self, destination: str) -> Queue | Topic:
        """Return the queue or topic that a consumer names. Raises `Refusal`."""
        destination = destination.strip()
        if destination.startswith((TEMP_QUEUE, TEMP_TOPIC)):
            return self._find_temporary(destination)
        if destination.startswith(UNRESOLVED):
            raise does_not_exist(destination)
        is_topic = destination.startswith(TOPIC)
        name = check_name(destination.removeprefix(TOPIC if is_topic else QUEUE))
        return self.topic(name) if is_topic else self.queue(name)

    def roam_queues(self, who: object, pattern: str, join: Callable[[Queue], None]) -> None:
        """Call `join` with every queue whose name a pattern means, now and when one is made."""
        roaming = Roaming(compile_pattern(check_name(pattern.removeprefix(QUEUE))), join)
        self._roaming_queues[who] = roaming
        for queue in list(self.queues.values()):
            roaming.meet(queue.name, queue)

    def roam_topics(self, who: object, pattern: str, join: Callable[[Topic], None]) -> None:
        """Call `join` with every topic whose name a pattern means, now and when one is made."""
        roaming = Roaming(compile_pattern(check_name(pattern.removeprefix(TOPIC))), join)
        self._roaming_topics[who] = roaming
        for topic in list(self.topics.values()):
            roaming.meet(topic.name, topic)

    def settle_down(self, who: object) -> None:
        """Whoever roamed does so no more."""
        self._roaming_queues.pop(who, None)
        self._roaming_topics.pop(who, None)

    # Queues and topics by name.

    def load(self, number: int, name: str) -> Queue:
        """Take over a queue that the store holds."""
        self._next_number = max(self._next_number, number + 1)
        self._broker.journal.known(number)
        return self._add_queue(Queue(self._broker, number, name, self.policies.for_queue(name)))

    def load_hidden(self, number: int, name: str) -> None:
        """Take over a stored queue that is no destination."""
        self._next_number = max(self._next_number, number + 1)
        self._broker.journal.known(number)
        self._hidden[name] = number

    def hidden(self, name: str) -> int:
        """Return the number of a stored queue that is no destination; its name begins with NUL."""
        number = self._hidden.get(name)
        if number is None:
            number = self._hidden[name] = self._new_number(name)
        return number

    def forget_hidden(self, name: str) -> None:
        """Forget an empty one."""
        self._broker.journal.drop(self._hidden.pop(name))

    def queue(self, name: str) -> Queue:
        """Return the queue of this name."""
        queue = self.queues.get(name)
        if queue is None:
            policy = self.policies.for_queue(name)
            queue = self._add_queue(Queue(self._broker, self._new_number(name), name, policy))
        return queue

    def topic(self, name: str) -> Topic:
        """Return the topic of this name."""
        topic = self.topics.get(name)
        if topic is None:
            topic = self.topics[name] = Topic(self._broker, name, self.policies.for_topic(name))
            if name.startswith(VIRTUAL):
                for queue, matches in self._virtual.items():
                    if matches(name):
                        topic.keep(Forward(self._broker, queue, topic))
            self._tell(topic)
            for roaming in list(self._roaming_topics.values()):
                roaming.meet(name, topic)
        return topic

    def temporary(self, name: str, is_topic: bool) -> TempQueue | TempTopic:
        """Make a destination that belongs to a connection."""
        made: TempQueue | TempTopic = (TempTopic if is_topic else TempQueue)(
            self._broker, name, self.policies
        )
        self._temporary[made.destination] = made
        self._by_destination[made.destination] = made
        self._tell(made)
        return made

    def temporaries(self) -> Sequence[TempQueue | TempTopic]:
        """Return all that belong to connections."""
        return [*self._temporary.values()]

    def end(self, temporary: TempQueue | TempTopic) -> None:
        """Its owner has gone: whatever waits there is lost, and nothing more is taken."""
        temporary.gone = True
        self._tell(temporary, gone=True)
        self._temporary.pop(temporary.destination, None)
        self._by_destination.pop(temporary.destination, None)
        if isinstance(temporary, TempQueue):
            temporary.charge(-temporary.charged)
            temporary.waiting = 0
            temporary.lanes.clear()

    def compose(self, rules: Sequence[CompositeRule]) -> None:
        """Take over the operator's composites. Raises `Refusal` for one that makes no sense."""
        self._rules = {canonical(rule.destination): rule for rule in rules}
        for rule in rules:
            self.find(rule.destination)

    def remove_idle(self, idle_before: set[Queue | Topic]) -> set[Queue | Topic]:
        """Remove destinations that are idle and were so before; return those idle now for the first time."""
        queues = [q for q in self.queues.values() if q.idle]
        topics = [t for t in self.topics.values() if t.idle]
        idle: set[Queue | Topic] = {*queues, *topics}
        gone = idle & idle_before
        if gone:
            self.changed()
            for queue in queues:
                if queue in gone:
                    del self.queues[queue.name]
                    for roaming in list(queue.subscriptions):
                        roaming.let_go()
                    self._broker.journal.drop(queue.number)
                    self._tell(queue, gone=True)
            for topic in topics:
                if topic in gone:
                    del self.topics[topic.name]
                    self._tell(topic, gone=True)
            self._by_destination.clear()
            for temporary in self._temporary.values():
                self._by_destination[temporary.destination] = temporary
        return idle - gone

    def _make(self, destination: str, depth: int) -> Route:
        broker = self._broker
        if depth > DEEPEST:
            raise Refusal(f"The destination leads to itself: {destination}")
        elements = [element.strip() for element in destination.split(",")]
        if len(elements) > 1:
            found = [self.find(element, depth + 1) for element in elements if element]
            return Fanout(broker, destination, [(route, None) for route in found])
        [element] = elements
        for prefix, service in self.services.items():
            if element.startswith(prefix) and (answering := service(element)) is not None:
                return answering
        name = element.removeprefix(TOPIC).removeprefix(QUEUE)
        if is_pattern(name):
            raise Refusal(
                f"Illegal destination name: [{element}]",
                "Wildcards are for SUBSCRIBE; a SEND names its destination, or several with commas.",
            )
        rule = self._rules.get(canonical(element))
        if rule is None:
            return self.source(element)
        members: list[tuple[Route, Wants | None]] = []
        if not rule.forward_only:
            members.append((self.source(element), None))
        for target in rule.forward_to:
            text = rule.filters.get(target)
            wants = broker.outside.make_filter(text) if text else None
            members.append((self.find(target, depth + 1), wants))
        return Fanout(broker, destination, members, canonical(element))

    def _find_temporary(self, destination: str) -> TempQueue | TempTopic:
        temporary = self._temporary.get(destination)
        if temporary is None:
            raise does_not_exist(destination)
        return temporary

    def _new_number(self, name: str) -> int:
        number = self._next_number
        self._next_number += 1
        self._broker.journal.name(number, name)
        return number

    def _add_queue(self, queue: Queue) -> Queue:
        self.queues[queue.name] = queue
        if virtual := virtual_topic_of(queue.name):
            queue.keep_idle = True  # else what comes while it is not there would be lost
            self._broker.journal.keep(queue.number)
            matches = self._virtual[queue] = compile_pattern(virtual)
            for topic in list(self.topics.values()):
                if topic.name.startswith(VIRTUAL) and matches(topic.name):
                    topic.keep(Forward(self._broker, queue, topic))
            if not is_pattern(virtual):
                self.topic(virtual)
        for roaming in list(self._roaming_queues.values()):
            roaming.meet(queue.name, queue)
        self._tell(queue)
        return queue

    def _tell(self, made: Queue | Topic, gone: bool = False) -> None:
        kind = ("Temp" if isinstance(made, TempQueue | TempTopic) else "") + (
            "Topic" if isinstance(made, Topic) else "Queue"
        )
        self._broker.tell(Event(kind, made, gone=gone))


def canonical(destination: str) -> str:
    """Return a destination with its prefix."""
    return destination if destination.startswith((QUEUE, TOPIC)) else QUEUE + destination


def check_name(name: str) -> str:
    """Return a destination's name. Raises `Refusal` for one that cannot be."""
    if not name:
        raise Refusal(
            "Invalid empty or 'null' Destination header",
            "A destination reads /queue/NAME or /topic/NAME.",
        )
    if len(name.encode()) > NAME_BYTES:
        raise Refusal(
            f"The destination's name is longer than {NAME_BYTES} bytes", "Use a shorter name."
        )
    return name


def virtual_topic_of(queue: str) -> str:
    """Return the virtual topic that a queue's name subscribes to, or ""."""
    if not queue.startswith(CONSUMER):
        return ""
    topic = queue.split(".", 2)[-1]
    return topic if topic.startswith(VIRTUAL) else ""


def does_not_exist(destination: str) -> Refusal:
    """The fault of using a temporary destination that is no more, or somebody else's."""
    return Refusal(
        f"The destination {destination} does not exist.",
        "A temporary destination ends with the connection that made it.",
    )
