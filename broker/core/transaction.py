"""Verbs held between BEGIN and COMMIT, then done in order inside one turn.

Everything of a turn goes to disk as one batch, so a transaction is there whole or not at all. A SEND is
held as the call that will put it into its queue; ACK and NACK leave their messages in flight.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.core.each import for_each
from broker.core.journal import Memory
from broker.core.subscription import Subscription


class Transaction:
    """What COMMIT will do."""

    __slots__ = ("_acks", "_held", "_memory", "_required", "_steps", "size")

    def __init__(self, memory: Memory) -> None:
        """`memory` is what the messages that are held take from."""
        self.size = 0  # bytes of the messages held that will go to disk
        self._held = 0  # bytes of all messages held
        self._memory = memory
        self._required: dict[str, Callable[[], None]] = {}
        self._steps: list[Callable[[], None]] = []
        self._acks: list[tuple[Subscription, list[str]]] = []

    def send(self, put: Callable[[], None], size: int, durable: bool) -> None:
        """Hold a SEND of `size` bytes; `put` does it."""
        self._held += size
        self._memory.room -= size
        if durable:
            self.size += size
        self._steps.append(put)

    def require(self, what: str, check: Callable[[], None]) -> None:
        """Let `check` be called before COMMIT, once for the same thing. It may raise `Refusal`, and `Blocked`."""
        self._required.setdefault(what, check)

    def then(self, step: Callable[[], None]) -> None:
        """Hold something else that is to happen at its place in the order."""
        self._steps.append(step)

    def ack(self, subscription: Subscription, key: str) -> None:
        """Hold an ACK. Raises `Refusal` now if it is not in flight."""
        keys = subscription.hold(key, self, "ACK")
        if keys:
            self._acks.append((subscription, keys))
            self._steps.append(lambda: subscription.settle(keys))

    def nack(
        self,
        subscription: Subscription,
        key: str,
        requeue: bool,
        delay: int = 0,
        cumulative: bool = False,
    ) -> None:
        """Hold a NACK. Raises `Refusal` now if it is not in flight."""
        keys = subscription.hold(key, self, "NACK", cumulative)
        if keys:
            self._acks.append((subscription, keys))
            self._steps.append(lambda: subscription.settle_refusal(keys, requeue, delay))

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
