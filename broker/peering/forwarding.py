"""What waits for a peer leaves over a link: the one consumer of the peer's queue.

Everything is in flight until the peer has confirmed that it is on its disk; then it is done here. So many messages
may be in flight that a link with a long way is busy all the time (`window`). When the link is lost they return to
their places, and go first over the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.core.lane import Read
from broker.core.message import BULKY, Message
from broker.core.subscription import CLIENT_INDIVIDUAL, Subscription

if TYPE_CHECKING:
    from broker.outbox import Outbox
    from broker.peering.peer import Peer

TOO_LARGE = "larger than {} takes: {} bytes at most"


class Forwarding:
    """Carries the messages of one peer over one link."""

    def __init__(
        self, peer: Peer, head: Callable[[str], bytes], outbox: Outbox, largest: int
    ) -> None:
        """`head` writes what stands before a message's tail, for what it is called; `largest`: bytes of a body."""
        self._peer = peer
        self._head = head
        self._outbox = outbox
        self._largest = largest
        self._too_large: list[str] = []
        self._stopped = False  # the link cannot take more just now
        self.subscription = Subscription(
            peer.queue, CLIENT_INDIVIDUAL, peer.settings.window, self._deliver
        )
        self._apply()

    def begin(self) -> None:
        """Forward what waits, and what comes."""
        queue = self._peer.queue
        queue.join(self.subscription)
        queue.feed(self.subscription)

    def confirm(self, key: str) -> bool:
        """The peer has it; False if it is none of what was sent."""
        if key not in self.subscription.in_flight:
            return False
        self._peer.forwarded += 1
        self.subscription.ack(key)
        return True

    def refuse(self, key: str, why: str) -> bool:
        """The peer will never take it: it is a dead letter here; False if it is none of what was sent."""
        if key not in self.subscription.in_flight:
            return False
        self._peer.refused_there += 1
        self.subscription.nack(key, requeue=False, reason=f"refused by {self._peer.name}: {why}")
        return True

    @property
    def oldest(self) -> str:
        """What is called the message that was sent first of those the peer has not confirmed; "": there is none."""
        return next(iter(self.subscription.in_flight), "")

    def stop(self, stopped: bool) -> None:
        """The link cannot take more just now, or can again."""
        self._stopped = stopped
        self._apply()

    def end(self, died: bool = False) -> None:
        """The link is gone. It `died` if the peer could not bear what it was sent."""
        self.subscription.close(died)

    def pause_as_told(self) -> None:
        """An operator has paused the peer, or lets it go on."""
        self._apply()

    def go_on(self, read: Read) -> None:
        """Give up what is too large for the peer: it would end the link again and again."""
        too_large, self._too_large = self._too_large, []
        for key in too_large:
            self.refuse(key, TOO_LARGE.format(self._peer.name, self._largest))

    def _apply(self) -> None:
        paused = self._stopped or self._peer.ledger.paused
        if paused != self.subscription.paused:
            (self.subscription.pause if paused else self.subscription.resume)()

    def _deliver(self, message: Message) -> str:
        key = f"{message.priority}.{message.seq}"
        tail = message.tail
        if len(tail) > self._largest and body_size(tail) > self._largest:
            self._too_large.append(key)
            self._peer.queue.broker.again[self] = None
            return key
        outbox = self._outbox
        if not outbox.pieces:
            outbox.wake()
        if len(tail) >= BULKY:
            outbox.bulky = True
        outbox.pieces.append(self._head(key))
        outbox.pieces.append(tail)
        return key


def body_size(tail: bytes) -> int:
    """Return the length of the body in a tail."""
    return len(tail) - tail.index(b"\n\n") - 4
