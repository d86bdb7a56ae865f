"""Where a SEND can go, and destinations that are several others.

What goes to several is copied: everybody gets a message of its own, as the policy of its destination has it,
with the same message-id. Either all get theirs or, when one cannot, nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from broker.core.message import WANTED_OF_SEVERAL, Message
from broker.core.policy import DEFAULT, Policy
from broker.core.queue import Queue
from broker.core.subscription import Wants
from broker.core.temporary import TempQueue, TempTopic
from broker.core.topic import Topic

if TYPE_CHECKING:
    from broker.core.broker import Broker

Put = Callable[[Message], None]


class Route(Protocol):
    """Where a SEND can go."""

    @property
    def policy(self) -> Policy:
        """What an operator says about it."""

    @property
    def common(self) -> bool:
        """True when a SEND need not ask for policy, limits and copies."""

    @property
    def copies(self) -> int:
        """How many records a message there may become."""

    @property
    def durable(self) -> bool:
        """True when somebody there stores messages."""

    @property
    def attended(self) -> bool:
        """True when somebody is there who takes messages, or keeps them for one who comes."""

    @property
    def destination(self) -> str:
        """What clients call it."""

    def put(self, message: Message) -> None:
        """Take a message."""

    def put_from(self, sender: object) -> Put:
        """Return the function that takes the messages of a sender."""

    def limits(self) -> Sequence[Queue]:
        """Return the queues whose limits a SEND must respect."""


class Member(NamedTuple):
    """One of several."""

    route: Route
    wants: Wants | None = None  # what it gets; None: everything
    is_told: bool = False  # its messages say where they were sent


class Fanout:
    """Several routes that get every message, each one of its own."""

    policy = DEFAULT  # each member's own applies
    common = False

    def __init__(self, broker: Broker, destination: str, members: Iterable[Member]) -> None:
        """`destination` is where messages are sent."""
        self.destination = destination
        self._broker = broker
        # A service may refuse what it is asked: before anybody has got anything.
        self._members = sorted(members, key=lambda each: not isinstance(each.route, Service))
        self._puts: list[Put] = [member.route.put for member in self._members]
        self._mortal = [
            member.route
            for member in self._members
            if isinstance(member.route, TempQueue | TempTopic)
        ]

    @property
    def routes(self) -> Sequence[Route]:
        """Where the copies go."""
        return [member.route for member in self._members]

    @property
    def durable(self) -> bool:
        """True when one of them stores messages."""
        return any(member.route.durable for member in self._members)

    @property
    def attended(self) -> bool:
        """True when one of them is."""
        return any(member.route.attended for member in self._members)

    @property
    def copies(self) -> int:
        """How many records a message may become."""
        return sum(member.route.copies for member in self._members)

    def put(self, message: Message) -> None:
        """Give everybody a copy. Raises `Refusal`, having given none."""
        self._give(self._puts, message)

    def put_from(self, sender: object) -> Put:
        """Return the function that takes the messages of a sender."""
        return partial(self._give, [member.route.put_from(sender) for member in self._members])

    def limits(self) -> Sequence[Queue]:
        """Return the queues whose limits a SEND must respect."""
        return [queue for member in self._members for queue in member.route.limits()]

    def _give(self, puts: Sequence[Put], message: Message) -> None:
        for mortal in self._mortal:
            mortal.check()
        broker, told = self._broker, b""
        for (route, wants, is_told), put in zip(self._members, puts, strict=True):
            if wants is not None and not wants(message):
                continue
            copy = broker.twin(message, message.durable and route.durable)
            if is_told:
                told = told or tell_origin(broker, message.tail, self.destination)
                copy.tail = told
            if copy.extra is not None and copy.extra.report is not None:
                # A topic has nobody, or many, who process it.
                copy.extra.report = None if isinstance(route, Topic) else WANTED_OF_SEVERAL
            broker.fit(copy, route.policy)
            put(copy)


class Service:
    """A destination that answers instead of keeping: `answer` is called with each message."""

    durable = False
    policy = DEFAULT
    common = True
    attended = True
    copies = 1

    def __init__(self, destination: str, answer: Put) -> None:
        self.destination = destination
        self.put = answer

    def put_from(self, sender: object) -> Put:
        """Return the function that takes the messages of a sender."""
        return self.put

    def limits(self) -> Sequence[Queue]:
        """It has none."""
        return ()


def tell_origin(broker: Broker, tail: bytes, destination: str) -> bytes:
    """Return a tail that says where the message was sent."""
    return broker.annotate(tail, {"original-destination": destination})
