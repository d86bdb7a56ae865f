"""What is on its way to another broker: a stored queue whose one consumer is a link, and the routes that lead there.

Clients can neither consume from it nor name it; they name a destination at the peer, and each message says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from broker.core.message import Message
from broker.core.names import HIDDEN, PEER
from broker.core.queue import Queue
from broker.peering.address import TARGET, is_report
from broker.stomp.frame import header_lines
from broker.tail import TAIL_VERSION, annotate, read_headers

if TYPE_CHECKING:
    from broker.core.broker import Broker
    from broker.core.fanout import Put
    from broker.core.policy import Policy

STORED_AS = HIDDEN + "peer "  # begins the names of the stored queues
ADDRESSED = f"\n{TARGET}:".encode()  # in a tail that says where it goes


class PeerQueue(Queue):
    """Messages for one peer, in the order of their priorities and of their coming."""

    grouping = False  # the one consumer gets them all; who has a group is for the peer to say

    def __init__(self, broker: Broker, name: str, policy: Policy) -> None:
        """`name` is the peer's."""
        stored_as = STORED_AS + name
        super().__init__(broker, broker.routes.hidden(stored_as), name, policy)
        broker.routes.stand_apart(self, stored_as)

    @property
    def destination(self) -> str:
        """What an administrator calls it."""
        return PEER + self.name

    def give_back(self, messages: list[Message]) -> None:
        """A link is gone. The peer may have these, and then it is the peer that sees to their expiry."""
        for message in messages:
            message.expires = 0  # the header still says when
        super().give_back(messages)

    def destination_of(self, message: Message) -> str:
        """Return where one of its messages was sent."""
        return self.destination + read_headers(message.tail)[TARGET]


class PeerRoute:
    """A destination at a peer."""

    durable = True
    copies = 1
    attended = True

    def __init__(self, queue: PeerQueue, target: str) -> None:
        """`target` is what the peer calls it."""
        self.destination = queue.destination + target
        self.policy = queue.policy
        # Brokers report to each other; of a client it is to be asked more.
        self.common = not (queue.limits() or is_report(target))
        self._queue = queue
        self._target = target
        self._line = header_lines([(TARGET, target)], TAIL_VERSION)
        self._is_plain = self._line == f"{TARGET}:{target}\n".encode()

    def put(self, message: Message) -> None:
        """Take a message."""
        self._queue.put(self._address(message))

    def put_when_stored(self, message: Message) -> None:
        """Take a message that is not to leave before it is on disk with all that was done before it."""
        self._queue.put_when_stored(self._address(message))

    def put_from(self, sender: object) -> Put:
        """Return the function that takes the messages of a sender."""
        return self.put

    def limits(self) -> Sequence[Queue]:
        """Return the queues whose limits a SEND must respect."""
        return self._queue.limits()

    def _address(self, message: Message) -> Message:
        """Say where it goes, and number it: to the peer, what comes with a lower number than the last is an old one."""
        broker = self._queue.broker
        message.seq = broker.next_seq
        broker.next_seq += 1
        tail = message.tail
        first = tail.index(b"\n") + 1
        if tail.find(ADDRESSED, first - 1, tail.index(b"\n\n")) < 0:
            message.tail = b"".join((tail[:first], self._line, memoryview(tail)[first:]))
        else:  # it was meant for another one before
            message.tail = annotate(tail, {TARGET: self._target})
        if not self._is_plain:
            message.plain, message.special = False, True
        return message
