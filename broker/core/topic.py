"""A topic: every message to everybody who is bound to it when it comes.

A subscriber of topics is a queue of its own with one consumer, so acknowledgements, credit and redelivery
are the queue's. Such a queue lives in memory and with its consumer. A consumer that is too slow loses its
oldest messages at a limit, rather than the broker its memory or other subscribers theirs.

Who keeps messages beyond that is a keeper: the queues of a virtual topic's consumers, the log of durable
subscriptions. A topic with keepers is durable. What a keeper stores is a message of its own, because
records are known by their sequence number; the others share one, which is never stored.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from broker.core.advised import DELIVERED
from broker.core.event import Event
from broker.core.message import Message
from broker.core.past import Past
from broker.core.queue import Queue
from broker.core.subscription import Deliver, Subscription, Wants

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from broker.core.broker import Broker
    from broker.core.policy import Policy
    from broker.core.schedule import Call

PENDING_BYTES = 64 * 1024 * 1024  # bytes that may wait for one slow subscriber
UNLIMITED = 2**31


class Receiver(Protocol):
    """Whoever is bound to a topic."""

    def put(self, message: Message) -> None:
        """Take a message."""


class Keeper(Receiver, Protocol):
    """Whoever stores what is sent to a topic."""

    @property
    def roams(self) -> bool:
        """True when nobody misses the topic while it is idle."""

    def put_from(self, sender: object) -> Callable[[Message], None]:
        """Return the function that takes the messages of a sender."""

    def limits(self) -> Sequence[Queue]:
        """Return the queues whose limits a SEND must respect."""


class Binding:
    """Passes on what a subscriber is to get of a topic, if it is not simply everything."""

    def __init__(self, queue: TopicQueue, wants: Wants | None, destination: str) -> None:
        """`destination`: what the consumer is told instead of what it subscribed to, if not ""."""
        self._queue = queue
        self._wants = wants
        self._destination = destination

    def put(self, message: Message) -> None:
        """Pass a message on if it is wanted."""
        if self._wants is not None and not self._wants(message):
            return
        if self._destination:
            message = message.copy()
            message.mark().destination = self._destination
        self._queue.put(message)


class TopicQueue(Queue):
    """One subscriber's messages."""

    durable = False
    grouping = False

    def __init__(
        self,
        broker: Broker,
        name: str,
        policy: Policy,
        pending: int,
        *,
        wants: Wants | None = None,
        sender: object = None,
        recent: bool = False,
        tells: bool = False,
    ) -> None:
        """`pending`: messages that may wait for its consumer.

        It gets what it `wants`, nothing that `sender` sends, at first the `recent` messages too, and its
        messages `tell` of which topic they are.
        """
        super().__init__(broker, -1, name, policy)
        self._pending = pending
        self._prefetch = self._slow_at = UNLIMITED  # messages that wait for a slow consumer
        #: To the one consumer, if nothing is kept of what it got.
        self._deliver: Deliver | None = None
        self._wants = wants
        self._sender = sender
        self._recent = recent
        self._tells = tells
        self._bindings: dict[Topic, Receiver] = {}
        self._later: dict[int, tuple[Message, Call]] = {}  # by seq: given back, to come at a moment

    @property
    def destination(self) -> str:
        """What clients call it."""
        return f"/topic/{self.name}"

    @property
    def topics(self) -> Iterable[Topic]:
        """The topics whose messages it gets."""
        return self._bindings.keys()

    def bind(self, topic: Topic, roams: bool = False) -> None:
        """Get the messages of a topic from now on, and what it kept. `roams`: only because its name fits."""
        if topic in self._bindings:
            return
        receiver: Receiver = self
        if self._wants is not None or self._tells:
            receiver = Binding(self, self._wants, topic.destination if self._tells else "")
        self._bindings[topic] = receiver
        topic.bind(receiver, self._sender, partial(self.let_go, topic) if roams else None)
        for message in topic.past.recall(self._recent):
            receiver.put(message)

    def let_go(self, topic: Topic) -> None:
        """A topic is no more."""
        del self._bindings[topic]

    def join(self, subscription: Subscription) -> None:
        """The one consumer comes."""
        self.subscriptions[subscription] = None
        self._prefetch = self._slow_at = subscription.credit
        self._deliver = subscription.deliver if subscription.auto else None

    def put(self, message: Message) -> None:
        """Take a message: to the one consumer if it can be served and nothing waits before it."""
        deliver = self._deliver
        if deliver is None or not self._line or self.waiting or message.special:
            super().put(message)
        else:
            self.enqueued += 1
            deliver(message)

    def leave(self, subscription: Subscription) -> None:
        """The one consumer goes, and the queue with it."""
        super().leave(subscription)
        for topic, receiver in self._bindings.items():
            topic.unbind(receiver, self._sender)
        self._bindings.clear()
        for _, call in self._later.values():
            self.broker.schedule.cancel(call)
        self._later.clear()
        self.lose_all()

    def refuse(
        self,
        message: Message,
        requeue: bool,
        delay: int = 0,
        reason: str = "",
        by: Subscription | None = None,
    ) -> None:
        """The consumer does not want it; how often is nothing to other subscribers."""
        super().refuse(message.copy(), requeue, delay, reason, by)

    def postpone(self, message: Message, due: int) -> None:
        """Let it come again later, if the consumer is still there then."""
        if not self.subscriptions:
            return
        call = self.broker.schedule.call_at(due, partial(self._take_up, message.seq))
        self._later[message.seq] = message, call
        self.charge(len(message.tail))
        if len(self._later) > self._pending:
            self._take_up(next(iter(self._later)))

    def _take_up(self, seq: int) -> None:
        """The moment has come, or too many wait for theirs."""
        if seq in self._later:
            message, call = self._later.pop(seq)
            self.broker.schedule.cancel(call)
            self.charge(-len(message.tail))
            self.give_back([message])

    def give_back(self, messages: list[Message]) -> None:
        """The consumer wants them again; the message itself is shared with other subscribers."""
        if self.subscriptions:
            super().give_back([message.copy() for message in messages])

    def _keep(self, message: Message) -> None:
        lane = self._lane_of.get(message.priority)
        if lane is not None and message.seq < lane.last:
            # A lane's numbers grow. What one topic kept is not newer than what another did, and an advisory of
            # a message may have come before it.
            message = self.broker.twin(message, durable=False)
        super()._keep(message)
        if self.waiting > self._slow_at:  # as ActiveMQ: as many wait as it wants to have at once
            self._slow_at = UNLIMITED  # told once, until it has caught up
            self.broker.tell(Event("SlowConsumer", self))
        elif self.waiting == 1:
            self._slow_at = self._prefetch
        while self.waiting > 1 and (
            self.waiting > self._pending
            or self.charged > PENDING_BYTES
            or self.broker.memory.room < self.broker.memory.reserve
        ):
            self.drop_oldest()


class Topic:
    """Fan-out to whoever is bound."""

    def __init__(self, broker: Broker, name: str, policy: Policy) -> None:
        self.name = name
        self.policy = policy
        self.enqueued = 0  # messages that came, since the start or the last reset
        self.past = Past(broker, policy)
        #: Who lives in memory, and what takes messages for them.
        self.bound: dict[Receiver, Callable[[Message], None]] = {}
        self.keepers: list[Keeper] = []  # they store messages of their own
        self._broker = broker
        self.handouts = 0  # messages that are still being handed out
        self._copies = 0  # records that the keepers make of a message
        self._roaming: dict[
            Receiver, Callable[[], None]
        ] = {}  # of these, who does not need the topic
        self._spared: dict[
            object, dict[Receiver, None]
        ] = {}  # sender → who does not want what it sends
        self._advises = policy.advise_delivered
        self._plain = self._is_plain()

    def follow(self, policy: Policy) -> None:
        """Another policy holds from now on. Whether each message is told of (`advise_…`) stays as it was."""
        self.policy = policy
        self.past.follow(policy)
        self._plain = self._is_plain()

    @property
    def durable(self) -> bool:
        """True when somebody stores its messages."""
        return bool(self.keepers)

    @property
    def destination(self) -> str:
        """What clients call it."""
        return f"/topic/{self.name}"

    @property
    def attended(self) -> bool:
        """True when somebody listens, or keeps its messages."""
        return bool(self.bound or self.keepers)

    @property
    def idle(self) -> bool:
        """True when nobody would miss it."""
        return (
            len(self.bound) == len(self._roaming)
            and all(keeper.roams for keeper in self.keepers)
            and not self.past
            and not self.handouts
            and not self.policy.keep_idle
        )

    @property
    def common(self) -> bool:
        """True when a SEND need not ask for policy, limits and copies."""
        return not (self.policy.ttl_default or self._copies > 1 or self.limits())

    @property
    def copies(self) -> int:
        """How many records a message may become."""
        return max(1, self._copies)

    def put(self, message: Message) -> None:
        """Give a message to everybody who is there."""
        self.enqueued += 1
        if message.durable or message.special or not self._plain:
            message = self._keep(message, [keeper.put for keeper in self.keepers])
        handout = self._broker.handout
        if handout is not None and handout.take(self, message):
            return
        for put in self.bound.values():
            put(message)

    def put_from(self, sender: object) -> Callable[[Message], None]:
        """Return the function that puts the messages of a sender."""
        skipped = dict(self._spared.get(sender, ()))
        keep = [keeper.put_from(sender) for keeper in self.keepers]
        return partial(self.put_except, skipped, keep) if skipped or keep else self.put

    def put_except(
        self,
        skipped: Container[Receiver],
        keep: Sequence[Callable[[Message], None]],
        message: Message,
    ) -> None:
        """Give a message to everybody but some; `keep` is what the keepers do about it."""
        self.enqueued += 1
        message = self._keep(message, keep)
        handout = self._broker.handout
        if handout is not None and handout.take(self, message, skipped):
            return
        for receiver, put in self.bound.items():
            if receiver not in skipped:
                put(message)

    def limits(self) -> Sequence[Queue]:
        """Return the queues whose limits a SEND must respect."""
        return [queue for keeper in self.keepers for queue in keeper.limits()]

    def bind(
        self, receiver: Receiver, sender: object = None, let_go: Callable[[], None] | None = None
    ) -> None:
        """Somebody gets everything from now on, but for what `sender` sends.

        With `let_go` it does not need the topic, and is told by it when the topic ends.
        """
        self.bound[receiver] = receiver.put
        if let_go is not None:
            self._roaming[receiver] = let_go
        if sender is not None:
            self._spared.setdefault(sender, {})[receiver] = None
            self._broker.routes.changed()

    def unbind(self, receiver: Receiver, sender: object = None) -> None:
        """Somebody gets nothing any more."""
        del self.bound[receiver]
        self._roaming.pop(receiver, None)
        if sender is not None:
            spared = self._spared[sender]
            del spared[receiver]
            if not spared:
                del self._spared[sender]
            self._broker.routes.changed()

    def keep(self, keeper: Keeper) -> None:
        """Somebody stores everything from now on; said again: and makes one record more of each."""
        if keeper not in self.keepers:
            self.keepers.append(keeper)
        self._copies += 1
        self._plain = False
        self._broker.routes.changed()

    def release(self, keeper: Keeper, stays: bool = False) -> None:
        """Somebody stores nothing any more; if it `stays`, one record less of each."""
        if not stays:
            self.keepers.remove(keeper)
        self._copies -= 1
        self._plain = self._is_plain()
        self._broker.routes.changed()

    def end(self) -> None:
        """The topic is no more; it comes back as another."""
        for let_go in self._roaming.values():
            let_go()
        self.bound.clear()
        self._roaming.clear()
        self._spared.clear()
        self.past.clear()

    def _is_plain(self) -> bool:
        """Tell whether there is nothing to do but fan out."""
        return not (self.keepers or self._advises or self.past.collects)

    def _keep(self, message: Message, keep: Sequence[Callable[[Message], None]]) -> Message:
        """Let a message be kept by whoever does; return what those in memory get."""
        if self._advises:
            self._broker.tell(Event(DELIVERED, self, message))
        for put in keep:
            put(message)
        if message.durable:
            message = message.copy()
            message.durable = False
        if message.extra is not None and message.extra.retain:
            self.past.retain(message, message.extra.retain)
        if self.past.collects:
            self.past.collect(message)
        return message
