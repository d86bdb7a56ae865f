"""Verbs held between BEGIN and COMMIT, then done in order inside one turn.

Everything of a turn goes to disk as one batch, so a transaction is there whole or not at all. A SEND is
held as the call that will put it into its queue; ACK and NACK leave their messages in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from broker.core.each import for_each
from broker.core.journal import Memory
from broker.core.subscription import Subscription
from broker.errors import Refusal

STEP = 1000  # bytes of memory that holding a verb takes, beside its message


class Transaction:
    """What COMMIT will do."""

    __slots__ = ("_acks", "_held", "_memory", "_required", "_steps", "size")

    def __init__(self, memory: Memory) -> None:
        """`memory` is what the messages that are held take from."""
        self.size = 0  # bytes of the messages held that will go to disk
        self._held = 0  # bytes that it takes of the memory
        self._memory = memory
        self._take(STEP)
        self._required: dict[Hashable, Callable[[], None]] = {}
        self._steps: list[Callable[[], None]] = []
        self._acks: list[tuple[Subscription, list[str]]] = []

    def send(self, put: Callable[[], None], size: int, durable: bool) -> None:
        """Hold a SEND of `size` bytes; `put` does it."""
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
        """Hold an ACK. Raises `Refusal` now if it is not in flight."""
        self._check_room()
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
        """Hold a NACK. Raises `Refusal` now if it is not in flight."""
        self._check_room()
        keys = subscription.hold(key, self, "NACK", cumulative)
        if keys:
            self._take_messages(subscription, keys)
            self._steps.append(lambda: subscription.settle_refusal(keys, requeue, delay, reason))

    def check(self) -> None:
        """Raise `Refusal`, or `Blocked`, unless everything can be done now."""
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

    def _check_room(self) -> None:
        """Raise `Refusal` when the memory is full: for what is held here the consumer gets other messages."""
        if self._memory.room < 0:
            raise Refusal("The broker's memory is full", "COMMIT or ABORT what is held first.")

    def _take_messages(self, subscription: Subscription, keys: list[str]) -> None:
        self._acks.append((subscription, keys))
        messages = subscription.in_flight
        self._take(STEP + sum(len(messages[key].tail) for key in keys))

    def _take(self, size: int) -> None:
        self._held += size
        self._memory.room -= size
