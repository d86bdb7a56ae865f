"""Verbs held between BEGIN and COMMIT, then done in order inside one turn.

Everything of a turn goes to disk as one batch, so a transaction is there whole or not at all. A SEND is
held as the call that will put it into its queue; ACK and NACK leave their messages in flight.

One that has been asked to hold more than it may has lost a verb, and is not committed any more: a client that did not
hear of it would else believe that all of it was done.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from broker.core.each import for_each
from broker.core.journal import Memory
from broker.core.subscription import Subscription
from broker.errors import Refusal

MOST_VERBS = 10_000  # held in one transaction, unless the operator says otherwise
MOST_BYTES = 128 * 1024 * 1024  # the same of bytes
STEP = 1000  # bytes of memory that holding a verb takes, beside its message


class Transaction:
    """What COMMIT will do."""

    __slots__ = (
        "_acks",
        "_excess",
        "_held",
        "_memory",
        "_most_bytes",
        "_most_verbs",
        "_required",
        "_steps",
        "_verbs",
        "size",
    )

    def __init__(
        self, memory: Memory, most_verbs: int = MOST_VERBS, most_bytes: int = MOST_BYTES
    ) -> None:
        """`memory` is what the messages that are held take from; it holds so many verbs and bytes at most."""
        self._most_verbs = most_verbs
        self._most_bytes = most_bytes
        self._verbs = 0  # that are held
        self._excess = False  # it was asked to hold more
        self.size = 0  # bytes of the messages held that will go to disk
        self._held = 0  # bytes that it takes of the memory
        self._memory = memory
        self._take(STEP)
        self._required: dict[Hashable, Callable[[], None]] = {}
        self._steps: list[Callable[[], None]] = []
        self._acks: list[tuple[Subscription, list[str]]] = []

    def send(self, put: Callable[[], None], size: int, durable: bool, copies: int = 1) -> None:
        """Hold a SEND of `size` bytes; `put` does it. Raises `Refusal` if that is too much.

        `copies`: so many queues get it, and each counts: COMMIT takes so long, in one go.
        """
        self._hold(size, copies)
        self._take(size + STEP)
        if durable:
            self.size += size
        self._steps.append(put)

    def require(self, what: Hashable, check: Callable[[], None]) -> None:
        """Let `check` be called before COMMIT, once for the same thing. It may raise `Refusal`, and `Blocked`."""
        self._required.setdefault(what, check)

    def then(self, step: Callable[[], None]) -> None:
        """Hold something else that is to happen at its place in the order."""
        self._steps.append(step)

    def ack(self, subscription: Subscription, key: str) -> None:
        """Hold an ACK. Raises `Refusal` now if it is not in flight, or too much is held."""
        self._check_room()
        self._hold(0)
        keys = subscription.hold(key, self, "ACK")
        if keys:
            self._take_messages(subscription, keys)
            self._steps.append(lambda: subscription.settle(keys))

    def nack(
        self,
        subscription: Subscription,
        key: str,
        requeue: bool,
        delay: int = 0,
        cumulative: bool = False,
        reason: str = "",
    ) -> None:
        """Hold a NACK. Raises `Refusal` now if it is not in flight, or too much is held."""
        self._check_room()
        self._hold(0)
        keys = subscription.hold(key, self, "NACK", cumulative)
        if keys:
            self._take_messages(subscription, keys)
            self._steps.append(lambda: subscription.settle_refusal(keys, requeue, delay, reason))

    def check(self) -> None:
        """Raise `Refusal`, or `Blocked`, unless everything can be done now."""
        if self._excess:
            raise self._too_much()
        for check in self._required.values():
            check()

    def commit(self) -> None:
        """Do everything, in the order it was asked for."""
        self._memory.room += self._held
        for_each(self._steps, lambda step: step())

    def abort(self) -> None:
        """Do nothing: messages go unsent, acknowledgements are taken back."""
        self._memory.room += self._held
        for subscription, keys in self._acks:
            subscription.release(keys)

    def _hold(self, size: int, verbs: int = 1) -> None:
        """Count so many verbs more, with messages of `size` bytes. Raises `Refusal` if that is too much."""
        self._verbs += verbs
        if self._verbs > self._most_verbs or self._held + size > self._most_bytes:
            self._excess = True
            raise self._too_much()

    def _too_much(self) -> Refusal:
        return Refusal(
            f"The transaction is too large: {self._most_verbs} frames and {self._most_bytes} bytes are the most",
            "ABORT it, and use several smaller ones.",
        )

    def _check_room(self) -> None:
        """Raise `Refusal` when the memory is full: for what is held here the consumer gets other messages."""
        if self._memory.room + self._memory.withheld < 0:
            raise Refusal("The broker's memory is full", "COMMIT or ABORT what is held first.")

    def _take_messages(self, subscription: Subscription, keys: list[str]) -> None:
        self._acks.append((subscription, keys))
        messages = subscription.in_flight
        self._take(STEP + sum(len(messages[key].tail) for key in keys))

    def _take(self, size: int) -> None:
        self._held += size
        self._memory.room -= size
