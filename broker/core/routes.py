"""Every destination in use: found by what clients call it, made on first use, forgotten when nobody misses it.

What a name means is in `broker.core.names`. Beyond one queue or topic, as in ActiveMQ:

- a list, `/queue/a,/topic/b`, is all of them: a SEND goes to each;
- `a.*`, `a.>` are for consumers: whatever queue or topic has such a name, now or later;
- a temporary destination belongs to a connection (`broker.core.temporary`);
- what is sent to a virtual topic also goes to queues (`broker.core.virtual`);
- an operator may compose a destination of others (`CompositeRule`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from broker.core.composite import CompositeRule
from broker.core.event import Event
from broker.core.fanout import Fanout, Member, Route, Service
from broker.core.names import (
    NAME_BYTES,
    QUEUE,
    TEMP_QUEUE,
    TEMP_TOPIC,
    TOPIC,
    check_name,
    does_not_exist,
    elements_of,
    split,
)
from broker.core.pattern import compile_pattern, is_pattern
from broker.core.policy import Policies
from broker.core.queue import Queue
from broker.core.roaming import Roamers, Roaming
from broker.core.temporary import TempQueue, TempTopic
from broker.core.topic import Topic
from broker.core.virtual import VirtualTopics
from broker.errors import Full, Refusal

if TYPE_CHECKING:
    from broker.core.broker import Broker

__all__ = [
    "NAME_BYTES",
    "QUEUE",
    "TEMP_QUEUE",
    "TEMP_TOPIC",
    "TOPIC",
    "Route",
    "Routes",
    "TempQueue",
    "TempTopic",
]

DEEPEST = 8  # composites of composites
SPELLINGS = 10_000  # that are remembered beside one for each destination
LONGEST = 300  # characters of a spelling that is remembered: a name has less

Temporary = TempQueue | TempTopic


class Routes:
    """Every destination in use."""

    def __init__(self, broker: Broker, policies: Policies, most: int = 50_000) -> None:
        """Clients make `most` destinations, durable subscriptions among them; the broker itself those it needs."""
        self._broker = broker
        self._most = most
        self.policies = policies
        self._by_destination: dict[str, Route] = {}  # as clients write it; several may mean one
        self.get = self._by_destination.get  # for those who asked before
        self.queues: dict[str, Queue] = {}
        self.topics: dict[str, Topic] = {}
        self.services: dict[str, Callable[[str], Route | None]] = {}  # prefix → for a destination
        self.changes = 0  # goes up when what others remember of a destination is void
        self._next_number = 1
        #: Queues that clients can neither name nor consume from, by what they are called instead.
        self.apart: dict[str, Queue] = {}
        #: What the store holds of hidden queues: name → records of each priority.
        self.unclaimed: Mapping[str, Mapping[int, int]] = {}
        self._hidden: dict[str, int] = {}  # stored queues that are no destinations: name → number
        self._temporary: dict[str, Temporary] = {}
        self._rules: dict[str, CompositeRule] = {}
        self._virtual = VirtualTopics(broker)
        self._queue_roamers = Roamers(broker, self.queues, in_goes=True)
        self._topic_roamers = Roamers(broker, self.topics, in_goes=False)

    def follow(self, policies: Policies) -> None:
        """Other policies hold from now on, also for destinations that are there."""
        self.policies = policies
        temporary = self._temporary.values()
        for queue in (*self.queues.values(), *(e for e in temporary if isinstance(e, Queue))):
            queue.follow(policies.for_queue(queue.name))
        for topic in (*self.topics.values(), *(e for e in temporary if isinstance(e, Topic))):
            topic.follow(policies.for_topic(topic.name))
        self.changed()

    # Where a SEND goes.

    def find(self, destination: str) -> Route:
        """Return where a SEND to a destination leads. Raises `Refusal` for a name that cannot be one."""
        route = self._by_destination.get(destination)
        if route is None:
            elements = elements_of(destination)
            route = self._find_all(destination, elements)
            # With a temporary one it would outlive its owner.
            if len(destination) <= LONGEST and self._temporary.keys().isdisjoint(elements):
                self._remember(destination, route)
        return route

    def find_left(self, destination: str) -> Route:
        """The same for a COMMIT, which cannot fail any more: what is gone meanwhile gets nothing."""
        elements = elements_of(destination)
        left = [each for each in elements if not self._is_gone(each)]
        if left == elements:
            return self.find(destination)
        return self._find_all(destination, left)

    def changed(self) -> None:
        """What others remember of destinations is void."""
        self.changes += 1

    def is_there(self, destination: str) -> bool:
        """Tell whether a destination need not be made before it is used. Raises `Refusal`, see `find`."""
        prefix, name = split(destination)
        if prefix not in (QUEUE, TOPIC):
            return True  # another's, or somewhere else
        if name in (self.queues if prefix == QUEUE else self.topics) or destination in self._rules:
            return True
        return self._service(destination) is not None

    def answers(self, destination: str) -> bool:
        """Tell whether the broker itself answers what is sent to a destination. Raises `Refusal`, see `find`."""
        return isinstance(self._service(destination), Service)

    def beyond(self, destination: str, depth: int = 0) -> Iterator[str]:
        """Yield where else a SEND to a destination leads, because an operator has composed it of others."""
        rule = self._rules.get(destination)
        if rule is not None and depth <= DEEPEST:
            for target in rule.forward_to:
                yield target
                yield from self.beyond(target, depth + 1)

    def compose(self, rules: Sequence[CompositeRule]) -> None:
        """Take over the operator's composites. Raises `Refusal` for one that makes no sense."""
        self._rules = {"".join(split(rule.destination)): rule for rule in rules}
        for rule in rules:
            self.find(rule.destination)

    def _find_all(self, destination: str, elements: Sequence[str], depth: int = 0) -> Route:
        if len(elements) == 1:
            return self._find_one(elements[0], depth)
        return Fanout(
            self._broker, destination, [Member(self._find_one(each, depth)) for each in elements]
        )

    def _find_one(self, destination: str, depth: int) -> Route:
        service = self._service(destination)
        if service is not None:
            return service
        rule = self._rules.get(destination)
        if rule is not None:
            return self._compose(rule, depth)
        if is_pattern(split(destination)[1]):
            raise Refusal(
                f"Illegal destination name: [{destination}]",
                "Wildcards are for SUBSCRIBE; a SEND names its destination, or several with commas.",
            )
        return self.source(destination)

    def _service(self, destination: str) -> Route | None:
        """Return what is not a queue or topic: the broker answers there, or it leads to another one."""
        for prefix, find in self.services.items():
            if destination.startswith(prefix) and (found := find(destination)) is not None:
                return found
        return None

    def _compose(self, rule: CompositeRule, depth: int) -> Fanout:
        if depth > DEEPEST:
            raise Refusal(f"The destination leads to itself: {rule.destination}")
        members = [] if rule.forward_only else [Member(self.source(rule.destination))]
        for target in rule.forward_to:
            text = rule.filters.get(target)
            wants = None
            if text:
                wants = self._broker.outside.make_filter(text, rule.destination)
            members.append(Member(self._find_one(target, depth + 1), wants, is_told=True))
        return Fanout(self._broker, rule.destination, members)

    def _remember(self, destination: str, route: Route) -> None:
        known = self._by_destination
        if len(known) >= SPELLINGS + len(self.queues) + len(self.topics):
            self._forget_spellings()  # a client invents names for what is there
        known[destination] = route

    def _forget_spellings(self) -> None:
        self._by_destination.clear()
        self._by_destination.update(self._temporary)

    # Who takes from where.

    def source(self, destination: str) -> Queue | Topic:
        """Return the one queue or topic that a text names. Raises `Refusal`."""
        prefix, name = split(destination)
        if prefix == QUEUE:
            if name not in self.queues:
                self.check_room()
            return self.queue(check_name(name))
        if prefix == TOPIC:
            if name not in self.topics:
                self.check_room()
            return self.topic(check_name(name))
        temporary = self._temporary.get(destination)
        if temporary is None:
            raise does_not_exist(destination)
        return temporary

    def check_room(self) -> None:
        """Raise `Full` if there are as many destinations as clients may make."""
        there = len(self.queues) + len(self.topics) + len(self._temporary)
        if there + len(self._broker.durables) >= self._most:
            raise Full(
                f"Too many destinations: {self._most} are the most",
                "Those that are empty and unused are forgotten after a minute; or raise max_destinations.",
            )

    def roam_queues(
        self,
        who: object,
        pattern: str,
        join: Callable[[Queue], None],
        would_take: Callable[[Queue], bool],
    ) -> None:
        """Call `join` with every queue whose name a pattern means, soon and when one is made.

        While memory is short that may wait, unless who joins `would_take` the queue at once.
        """
        self._queue_roamers.add(Roaming(who, compile_pattern(pattern), join, would_take))

    def roam_topics(self, who: object, pattern: str, join: Callable[[Topic], None]) -> None:
        """Call `join` with every topic whose name a pattern means, now and when one is made."""
        self._topic_roamers.add(Roaming(who, compile_pattern(pattern), join, lambda topic: True))

    def look_again(self, who: object) -> None:
        """Whoever roams may take from more than before: it meets what is there, once more."""
        self._queue_roamers.look_again(who)
        self._topic_roamers.look_again(who)

    def roam_on(self) -> None:
        """Whoever roams may meet more queues than it could a while ago, for want of memory."""
        self._queue_roamers.roam_on()

    def is_sought(self, queue: Queue) -> bool:
        """Tell whether somebody has still to join a queue, because of its name."""
        is_one = self.queues.get(queue.name) is queue  # others may be called so
        return is_one and self._queue_roamers.are_about_to_join(queue)

    def settle_down(self, who: object) -> None:
        """Whoever roamed does so no more."""
        self._queue_roamers.remove(who)
        self._topic_roamers.remove(who)

    # Queues and topics by name.

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
            self._virtual.meet_topic(topic)
            self._tell(topic)
            self._topic_roamers.meet(topic)
        return topic

    def temporary(self, name: str, is_topic: bool) -> Temporary:
        """Make a destination that belongs to a connection. Raises `Refusal`."""
        self.check_room()
        made: Temporary = (TempTopic if is_topic else TempQueue)(self._broker, name, self.policies)
        self._temporary[made.destination] = self._by_destination[made.destination] = made
        self._tell(made)
        return made

    def temporaries(self) -> Sequence[Temporary]:
        """Return all that belong to connections."""
        return [*self._temporary.values()]

    def end(self, temporary: Temporary) -> None:
        """Its owner has gone: whatever waits there is lost, and nothing more is taken."""
        del self._temporary[temporary.destination]
        self._by_destination.pop(temporary.destination, None)
        self._tell(temporary, gone=True)
        temporary.end()

    def remove_idle(self, idle_before: set[Queue | Topic]) -> set[Queue | Topic]:
        """Remove destinations that are idle and were so before; return those idle now for the first time."""
        queues = [queue for queue in self.queues.values() if queue.idle]
        topics = [topic for topic in self.topics.values() if topic.idle]
        idle: set[Queue | Topic] = {*queues, *topics}
        for queue in queues:
            if queue in idle_before:
                self._remove_queue(queue)
        for topic in topics:
            if topic in idle_before:
                self._remove_topic(topic)
        if not idle.isdisjoint(idle_before):
            self.changed()
            self._forget_spellings()
        return idle - idle_before

    def remove_queue(self, queue: Queue) -> None:
        """Remove a queue that has no messages, and no consumers but those who take from any."""
        self._remove_queue(queue)
        self._virtual.leave_queue(queue, self.topics.values())
        self.changed()
        self._forget_spellings()

    def _add_queue(self, queue: Queue) -> Queue:
        self.queues[queue.name] = queue
        self._virtual.meet_queue(queue, self.topics.values())
        self._queue_roamers.meet(queue)
        self._tell(queue)
        return queue

    def _remove_queue(self, queue: Queue) -> None:
        del self.queues[queue.name]
        for roaming in [*queue.subscriptions]:
            roaming.let_go()
        self._broker.journal.drop(queue.number)
        self._tell(queue, gone=True)

    def _remove_topic(self, topic: Topic) -> None:
        del self.topics[topic.name]
        topic.end()
        self._tell(topic, gone=True)

    def _is_gone(self, destination: str) -> bool:
        return (
            split(destination)[0] in (TEMP_QUEUE, TEMP_TOPIC) and destination not in self._temporary
        )

    def _tell(self, made: Queue | Topic, gone: bool = False) -> None:
        kind = "Topic" if isinstance(made, Topic) else "Queue"
        if isinstance(made, Temporary):
            kind = f"Temp{kind}"
        self._broker.tell(Event(kind, made, gone=gone))

    # Queues in the store, by number.

    def load(self, number: int, name: str) -> Queue:
        """Take over a queue that the store holds."""
        self._take_number(number)
        return self._add_queue(Queue(self._broker, number, name, self.policies.for_queue(name)))

    def load_hidden(self, number: int, name: str) -> None:
        """Take over a stored queue that is no destination."""
        self._take_number(number)
        self._hidden[name] = number

    def hidden(self, name: str) -> int:
        """Return the number of a stored queue that is no destination; its name begins with NUL."""
        number = self._hidden.get(name)
        if number is None:
            number = self._hidden[name] = self._new_number(name)
        return number

    def stand_apart(self, queue: Queue, name: str) -> None:
        """Take in a queue that is stored as a hidden one of this name, with what the store holds of it."""
        self.apart[queue.destination] = queue
        for priority, count in self.unclaimed.get(name, {}).items():
            queue.load(priority, count)

    def known_hidden(self, name: str) -> int:
        """Return the number of one that is there, 0 if it is not."""
        return self._hidden.get(name, 0)

    def forget_hidden(self, name: str) -> None:
        """Forget an empty one."""
        self._broker.journal.drop(self._hidden.pop(name))

    def _take_number(self, number: int) -> None:
        self._next_number = max(self._next_number, number + 1)
        self._broker.journal.known(number)

    def _new_number(self, name: str) -> int:
        number = self._next_number
        self._next_number += 1
        self._broker.journal.name(number, name)
        return number
