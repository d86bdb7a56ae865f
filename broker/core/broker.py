"""The core's front door: what the house owns together, and what happens now and then.

No I/O and no clock: `now` is set by the floor above once a turn, `journal` is taken away by it, and
`again` lists the queues that want another go (messages to read back, or more to hand out).
"""

from __future__ import annotations

from collections.abc import Callable

from broker.core.each import for_each
from broker.core.journal import Batch, Journal, Memory
from broker.core.message import Message
from broker.core.queue import Queue, Read
from broker.core.routes import Route, Routes
from broker.errors import Refusal

DEAD_LETTERS = "ActiveMQ.DLQ"  # where ActiveMQ's users look for them
SWEEP_EVERY = 30.0  # seconds between two looks for what has expired or is idle


class Broker:
    """Queues and topics, and what they share."""

    def __init__(
        self,
        *,
        memory_limit: int = 512 * 1024 * 1024,
        max_redeliveries: int = 6,
        annotate: Callable[[bytes, dict[str, str]], bytes],
    ) -> None:
        """`annotate` adds headers to a message's tail; the core does not know how."""
        self.journal = Journal()
        self.routes = Routes(self)
        self.now = 0  # milliseconds since 1970, as of this turn
        self.next_seq = 1
        self.suspect_before = 0  # older ones may have been delivered before a crash
        self.memory = Memory(memory_limit, memory_limit // 2)  # for what waits in memory only
        self.max_redeliveries = max_redeliveries  # a consumer may ask for, per message
        self.again: dict[Queue, None] = {}  # in order: queues that want another go
        self.starving: dict[Queue, None] = {}  # the same, once what is being written is on disk
        self._annotate = annotate
        self._idle: set[Route] = set()

    def load(self, next_seq: int, clean: bool) -> None:
        """Go on where the store ended; after a crash any message may have been delivered before."""
        self.next_seq = next_seq
        self.suspect_before = 0 if clean else next_seq

    def take(self) -> Batch:
        """Return what must go to disk now."""
        return self.journal.take(self.next_seq)

    def admit(self, durable: bool, size: int) -> None:
        """Raise `Refusal` if the disk, or memory, has no room for a message of `size` bytes."""
        if (self.journal if durable else self.memory).room >= size:
            return
        if durable:
            raise Refusal(
                "The store is full",
                "Nothing more is stored until messages are consumed; acknowledgements are taken.",
            )
        raise Refusal(
            "The memory for messages that are not stored is full",
            "It holds what was sent with persistent:false or waits for COMMIT: consume, or commit.",
        )

    def bury(self, queue: Queue, message: Message) -> None:
        """Move a copy of a refused message to the dead letters; the caller ends the original.

        As ActiveMQ: only durable ones, with their message-id and where they came from; a dead letter
        that is refused once more is gone.
        """
        if not message.durable or queue.name == DEAD_LETTERS:
            return
        tail = self._annotate(
            message.tail,
            {
                "original-destination": f"/queue/{queue.name}",
                "dlqDeliveryFailureCause": "refused by a consumer (NACK)",
            },
        )
        letter = Message(self.next_seq, tail, True, False, message.priority)
        self.next_seq += 1
        self.routes.queue(DEAD_LETTERS).put(letter)

    def go_on(self, read: Read) -> None:
        """Give the queues that asked for it another go."""
        again, self.again = self.again, {}
        for_each(again, lambda queue: queue.go_on(read))

    def written(self) -> None:
        """A batch is on disk: who waited for it may read."""
        self.again |= self.starving
        self.starving.clear()

    def sweep(self) -> None:
        """Drop what has expired in memory, forget destinations that are no longer used."""
        for queue in self.routes.queues.values():
            if queue.waiting:
                queue.expire()
        self._idle = self.routes.remove_idle(self._idle)
