"""What a topic keeps for those who come later, in memory and within bounds.

Two things, as in ActiveMQ: the *retained* message, the last one that was sent with `ActiveMQ.Retain:true`, which
every new subscriber gets first; and the *recent* ones, as many and for as long as a policy says, for subscribers
that ask for them (`activemq.retroactive:true`). Both count against the memory for messages that are not stored,
and leave the half of it to others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from broker.core.message import RETAIN, Message

if TYPE_CHECKING:
    from broker.core.broker import Broker
    from broker.core.policy import Policy

RECENT_BYTES = 16 * 1024 * 1024  # that a topic keeps for those who come later


class Past:
    """What one topic keeps."""

    def __init__(self, broker: Broker, policy: Policy) -> None:
        self._broker = broker
        self._retained: Message | None = None
        self._recent: deque[tuple[int, Message]] = deque()  # when it came
        self._bytes = 0  # of the recent ones
        self.follow(policy)

    def follow(self, policy: Policy) -> None:
        """Keep what this policy wants kept, and no more."""
        self._policy = policy
        self.collects = bool(policy.recover_messages or policy.recover_seconds)
        if not self.collects:
            self._forget_recent()
        if not policy.retain:
            self._forget_retained()

    def __bool__(self) -> bool:
        """True while there is anything that somebody may still ask for."""
        self._forget_old()
        return self._retained is not None or bool(self._recent)

    def retain(self, message: Message, what: int) -> None:
        """Keep a message instead of the one before, if `what` is RETAIN; else keep none."""
        self._forget_retained()
        memory, size = self._broker.memory, len(message.tail)
        if what == RETAIN and self._policy.retain and memory.room - size >= memory.reserve:
            self._retained = message
            memory.room -= size

    def collect(self, message: Message) -> None:
        """Keep a message for a while."""
        self._recent.append((self._broker.now, message))
        self._count(len(message.tail))
        self._forget_old()

    def recall(self, recent: bool) -> Iterator[Message]:
        """Return copies for a new subscriber, oldest first; with the `recent` ones if it asks for them."""
        self._forget_old()
        kept = [message for _, message in self._recent] if recent else []
        retained, now = self._retained, self._broker.now
        if retained is not None and retained not in kept:
            kept.insert(0, retained)
        for message in kept:
            if not message.expires or message.expires > now:
                copy = message.copy()
                if message is retained:
                    copy.mark().retained = True
                yield copy

    def clear(self) -> None:
        """Keep nothing any more."""
        self._forget_recent()
        self._forget_retained()

    def _forget_recent(self) -> None:
        self._recent.clear()
        self._count(-self._bytes)

    def _forget_retained(self) -> None:
        if self._retained is not None:
            self._broker.memory.room += len(self._retained.tail)
            self._retained = None

    def _forget_old(self) -> None:
        policy, recent, memory, now = (
            self._policy,
            self._recent,
            self._broker.memory,
            self._broker.now,
        )
        if self._retained is not None and 0 < self._retained.expires <= now:
            self._forget_retained()
        oldest = now - policy.recover_seconds * 1000 if policy.recover_seconds else 0
        while recent and (
            (policy.recover_messages and len(recent) > policy.recover_messages)
            or recent[0][0] < oldest
            or self._bytes > RECENT_BYTES
            or memory.room < memory.reserve
        ):
            self._count(-len(recent.popleft()[1].tail))

    def _count(self, size: int) -> None:
        self._bytes += size
        self._broker.memory.room -= size
