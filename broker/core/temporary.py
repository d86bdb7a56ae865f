"""Queues and topics that belong to a connection: in memory only, and gone with it.

Whoever knows the name may send there. A sender may hold on to such a destination (the broker remembers for
each producer where its last messages went), so that it says itself that it is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING

from broker.core.message import Message
from broker.core.names import TEMP_QUEUE, TEMP_TOPIC, does_not_exist
from broker.core.queue import Queue
from broker.core.reports import FAILED, QUEUE_GONE, wants_reports
from broker.core.topic import Receiver, Topic

if TYPE_CHECKING:
    from broker.core.broker import Broker
    from broker.core.policy import Policies


class TempQueue(Queue):
    """A queue that belongs to a connection."""

    durable = False

    def __init__(self, broker: Broker, name: str, policies: Policies) -> None:
        super().__init__(broker, -1, name, policies.for_queue(name))
        self.gone = False

    @property
    def destination(self) -> str:
        """What other connections call it."""
        return TEMP_QUEUE + self.name

    def put(self, message: Message) -> None:
        """Take a message. Raises `Refusal` when its owner has gone."""
        if self.gone:
            raise does_not_exist(self.destination)
        super().put(message)

    def check(self) -> None:
        """Raise `Refusal` when its owner has gone."""
        if self.gone:
            raise does_not_exist(self.destination)

    def end(self) -> None:
        """Its owner has gone: whatever waits is lost, and nothing more is taken."""
        self.gone = True
        for lane in self.lanes:
            for message in lane.in_order():
                if wants_reports(message):
                    self.broker.reports.ended(self, message, FAILED, QUEUE_GONE)
        self.lose_all()


class TempTopic(Topic):
    """A topic that belongs to a connection."""

    def __init__(self, broker: Broker, name: str, policies: Policies) -> None:
        super().__init__(broker, name, policies.for_topic(name))
        self.gone = False

    @property
    def destination(self) -> str:
        """What other connections call it."""
        return TEMP_TOPIC + self.name

    def put(self, message: Message) -> None:
        """Take a message. Raises `Refusal` when its owner has gone."""
        self.check()
        super().put(message)

    def put_except(
        self,
        skipped: Container[Receiver],
        keep: Sequence[Callable[[Message], None]],
        message: Message,
    ) -> None:
        """Take a message that some are not to get. Raises `Refusal` when its owner has gone."""
        self.check()
        super().put_except(skipped, keep, message)

    def check(self) -> None:
        """Raise `Refusal` when its owner has gone."""
        if self.gone:
            raise does_not_exist(self.destination)

    def end(self) -> None:
        """Its owner has gone."""
        self.gone = True
        super().end()
