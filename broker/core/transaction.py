"""Verbs held between BEGIN and COMMIT, then done in order inside one turn.

Everything of a turn goes to disk as one batch, so a transaction is there whole or not at all. A SEND is
held as the call that will put it into its queue; ACK and NACK leave their messages in flight.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.core.subscription import Subscription


class Transaction:
    """What COMMIT will do."""

    __slots__ = ("_acks", "_steps", "size")

    def __init__(self) -> None:
        self.size = 0  # bytes of the messages held, durable ones
        self._steps: list[Callable[[], None]] = []
        self._acks: list[tuple[Subscription, list[str]]] = []

    def send(self, put: Callable[[], None], size: int) -> None:
        """Hold a SEND; `put` does it, `size` bytes of it will need room on disk."""
        self.size += size
        self._steps.append(put)

    def ack(self, subscription: Subscription, key: str) -> None:
        """Hold an ACK. Raises `Refusal` now if it is not in flight."""
        keys = subscription.hold(key, self, "ACK")
        if keys:
            self._acks.append((subscription, keys))
            self._steps.append(lambda: subscription.settle(keys))

    def nack(self, subscription: Subscription, key: str, requeue: bool) -> None:
        """Hold a NACK. Raises `Refusal` now if it is not in flight."""
        keys = subscription.hold(key, self, "NACK")
        if keys:
            self._acks.append((subscription, keys))
            self._steps.append(lambda: subscription.settle_refusal(key, requeue))

    def commit(self) -> None:
        """Do everything, in the order it was asked for."""
        for step in self._steps:
            step()

    def abort(self) -> None:
        """Do nothing: messages go unsent, acknowledgements are taken back."""
        for subscription, keys in self._acks:
            subscription.release(keys)
