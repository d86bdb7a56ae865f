"""A topic: every message to everybody who is bound to it when it comes.

A subscriber of a topic is a queue of its own with one consumer, so acknowledgements, credit and
redelivery are the queue's. Such a queue lives in memory and with its consumer. A consumer that is too
slow loses its oldest messages at a limit, rather than the broker its memory or other subscribers theirs.

Who keeps messages beyond that is a keeper: the queue of a virtual topic's consumer, the log of durable
subscriptions. A topic with keepers is durable. What a keeper stores is a message of its own, because
records are known by their sequence number; the others share one.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Protocol

from broker.core.advised import DELIVERED
from broker.core.event import Event
from broker.core.message import Message
from broker.core.queue import Queue
from broker.core.subscription import Subscription, Wants

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.broker import Broker
    from broker.core.policy import Policy

PENDING_BYTES = 64 * 1024 * 1024  # bytes that may wait for one slow subscriber
UNLIMITED = 2**31
RECOVER_BYTES = 16 * 1024 * 1024  # bytes that a topic keeps for those who come later


class Receiver(Protocol):
    """Whoever is bound to a topic."""

    def put(self, message: Message) -> None:
        """Take a message."""


class Keeper(Receiver, Protocol):
    """Whoever stores what is sent to a topic."""

    def limits(self) -> Sequence[Queue]:
        """Return the queues whose limits a SEND must respect."""


class Binding:
    """Passes on what somebody is to get of a topic, if it is not simply everything."""

    def __init__(self, target: Receiver, wants: Wants | None = None, destination: str = "") -> None:
        """`destination`: what the consumer is told instead of what it subscribed to (a wildcard)."""
        self._target = target
        self._wants = wants
        self._destination = destination

    def put(self, message: Message) -> None:
        """Pass a message on if it is wanted."""
        if self._wants is not None and not self._wants(message):
            return
        if self._destination:
            message = message.copy()
            message.mark().destination = self._destination
        self._target.put(message)


class TopicQueue(Queue):
    """One subscriber's messages."""

    durable = False
    grouping = False

    def __init__(self, broker: Broker, name: str, policy: Policy, pending: int) -> None:
        """`pending`: messages that may wait for its consumer."""
        super().__init__(broker, -1, name, policy)
        self._pending = pending
        self._prefetch = self._slow_at = UNLIMITED  # messages that wait for a slow consumer
        self._bindings: list[tuple[Topic, Receiver]] = []
        self._later: dict[int, Message] = {}  # by seq: given back, to come again at a moment

    @property
    def destination(self) -> str:
        """What clients call it."""
        return f"/topic/{self.name}"

    def bind(
        self,
        topic: Topic,
        wants: Wants | None = None,
        destination: str = "",
        sender: object = None,
        recent: bool = False,
    ) -> None:
        """Get the messages of a topic from now on; not those of `sender`, if there is one.

        `recent`: and those that it remembers.
        """
        receiver: Receiver = self
        if wants is not None or destination:
            receiver = Binding(self, wants, destination)
        self._bindings.append((topic, receiver))
        topic.bind(receiver, sender)
        topic.recall(receiver, recent)

    def join(self, subscription: Subscription) -> None:
        """The one consumer comes."""
        super().join(subscription)
        self._prefetch = self._slow_at = subscription.credit

    def leave(self, subscription: Subscription) -> None:
        """The one consumer goes, and the queue with it."""
        super().leave(subscription)
        for topic, receiver in self._bindings:
            topic.unbind(receiver)
        self._bindings.clear()
        self._later.clear()
        self.broker.memory.room += self.charged
        self.charged = 0
        self.lanes.clear()
        self._lane_of.clear()
        self.waiting = 0

    def refuse(self, message: Message, requeue: bool, delay: int = 0) -> None:
        """The consumer does not want it; how often is nothing to other subscribers."""
        super().refuse(message.copy(), requeue, delay)

    def postpone(self, message: Message, due: int) -> None:
        """Let it come again later, if the consumer is still there then."""
        if not self.subscriptions:
            return
        self._later[message.seq] = message
        self.charge(len(message.tail))
        if len(self._later) > self._pending:
            self._take_up(next(iter(self._later)))
        self.broker.schedule.call_at(due, partial(self._take_up, message.seq))

    def _take_up(self, seq: int) -> None:
        """The moment has come, or too many wait for theirs."""
        message = self._later.pop(seq, None)
        if message is not None:
            self.charge(-len(message.tail))
            self.give_back([message])

    def give_back(self, messages: list[Message]) -> None:
        """The consumer wants them again; the message itself is shared with other subscribers."""
        if self.subscriptions:
            super().give_back([message.copy() for message in messages])

    def _keep(self, message: Message) -> None:
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
        self.enqueued = 0  # messages that came, since the start
        self.bound: list[Receiver] = []  # they live in memory
        self.keepers: list[Keeper] = []  # they store messages of their own
        self._broker = broker
        self._apart: list[tuple[object, Receiver]] = []  # who does not want whose messages
        self._recent: deque[tuple[int, Message]] = deque()  # when it came, for who comes later
        self._recent_bytes = 0
        self._retained: Message | None = None
        self._remembers = bool(policy.recover_messages or policy.recover_seconds)
        self._advises = policy.advise_delivered
        self._plain = not (self._remembers or self._advises)  # nothing to do but fan out

    @property
    def durable(self) -> bool:
        """True when somebody stores its messages."""
        return bool(self.keepers)

    @property
    def destination(self) -> str:
        """What clients call it."""
        return f"/topic/{self.name}"

    @property
    def idle(self) -> bool:
        """True when nobody would miss it."""
        return not (
            self.bound
            or self.keepers
            or self._recent
            or self._retained is not None
            or self.policy.keep_idle
        )

    @property
    def common(self) -> bool:
        """True when a SEND need not ask for the policy."""
        return not (self.policy.ttl_default or self.limits())

    def put(self, message: Message) -> None:
        """Give a message to everybody who is there."""
        self.enqueued += 1
        if not self._plain or message.special:
            message = self._remember(message)
        for receiver in self.bound:
            receiver.put(message)

    def put_from(self, sender: object) -> Callable[[Message], None]:
        """Return the function that puts the messages of a sender."""
        skipped = [receiver for who, receiver in self._apart if who is sender]
        return partial(self._put_except, skipped) if skipped else self.put

    def limits(self) -> Sequence[Queue]:
        """Return the queues whose limits a SEND must respect."""
        return [queue for keeper in self.keepers for queue in keeper.limits()]

    def bind(self, receiver: Receiver, sender: object = None) -> None:
        """Somebody gets everything from now on, but for what `sender` sends."""
        self.bound.append(receiver)
        if sender is not None:
            self._apart.append((sender, receiver))
            self._broker.routes.changed()

    def unbind(self, receiver: Receiver) -> None:
        """Somebody gets nothing any more."""
        self.bound.remove(receiver)
        if any(each is receiver for _, each in self._apart):
            self._apart = [pair for pair in self._apart if pair[1] is not receiver]
            self._broker.routes.changed()

    def keep(self, keeper: Keeper) -> None:
        """Somebody stores everything from now on."""
        self.keepers.append(keeper)
        self._plain = False
        self._broker.routes.changed()

    def release(self, keeper: Keeper) -> None:
        """Somebody stores nothing any more."""
        self.keepers.remove(keeper)
        self._plain = not (self._remembers or self._advises or self.keepers)
        self._broker.routes.changed()

    def recall(self, receiver: Receiver, recent: bool) -> None:
        """Give a new subscriber what was kept for it: the retained message, or all `recent` ones."""
        self._forget_old()
        found = [message for _, message in self._recent] if recent else []
        if not found and self._retained is not None:
            found = [self._retained]
        for message in found:
            if not message.expires or message.expires > self._broker.now:
                message = message.copy()
                message.mark().retained = True
                receiver.put(message)

    def _put_except(self, skipped: list[Receiver], message: Message) -> None:
        self.enqueued += 1
        if not self._plain or message.special:
            message = self._remember(message)
        for receiver in self.bound:
            if receiver not in skipped:
                receiver.put(message)

    def _remember(self, message: Message) -> Message:
        """Let it be kept by whoever does; return what those in memory get."""
        if self._advises:
            self._broker.tell(Event(DELIVERED, self, message))
        for keeper in self.keepers:
            keeper.put(message)
        if message.durable:
            message = message.copy()
            message.durable = False
        extra = message.extra
        if extra is not None and extra.retained:
            extra.retained = False  # those who are there get it as any other
            if self.policy.retain:
                self._retained = message
        if self._remembers:
            self._recent.append((self._broker.now, message))
            self._recent_bytes += len(message.tail)
            self._forget_old()
        return message

    def _forget_old(self) -> None:
        policy, recent = self.policy, self._recent
        oldest = self._broker.now - policy.recover_seconds * 1000 if policy.recover_seconds else 0
        while recent and (
            (policy.recover_messages and len(recent) > policy.recover_messages)
            or recent[0][0] < oldest
            or self._recent_bytes > RECOVER_BYTES
        ):
            self._recent_bytes -= len(recent.popleft()[1].tail)
