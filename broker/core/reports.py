"""Who is told what becomes of a message whose sender wants to know: the processed acknowledgement.

A queue tells four things of such a message, and of no other: it has come, a consumer has it, it has ended, it was
moved elsewhere. Who writes reports and keeps the status is above (`broker.watch.reports`); the core knows neither.

The precedent are the report options of IBM MQ (COA, COD, EXPIRATION, EXCEPTION) and the "job done" of the
founding plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.message import Message
    from broker.core.queue import Queue
    from broker.core.subscription import Subscription

#: What becomes of a message, in this order; the last three are ends.
QUEUED, SENT, PROCESSED, FAILED, EXPIRED = "QUEUED", "SENT", "PROCESSED", "FAILED", "EXPIRED"
STATUSES = (QUEUED, SENT, PROCESSED, FAILED, EXPIRED)
ENDS = frozenset((PROCESSED, FAILED, EXPIRED))

#: Why a message failed that no consumer has refused.
DISCARDED = "discarded, because too many were waiting"
REMOVED = "removed by an administrator"
QUEUE_GONE = "its temporary queue has gone"


class Reports:
    """Who is told. This one cares not."""

    def arrived(self, queue: Queue, message: Message) -> None:
        """It has come to a queue, but is not kept yet. Also called when it comes again."""

    def sent(self, queue: Queue, message: Message) -> None:
        """A consumer is handed it."""

    def ended(
        self,
        queue: Queue,
        message: Message,
        status: str,
        cause: str = "",
        by: Subscription | None = None,
    ) -> None:
        """It has ended; the batch that forgets the message is being collected. `by`: the consumer that ended it."""

    def moved(self, queue: Queue, message: Message, twin: Message) -> None:
        """It leaves a queue, and a twin of it comes to another one next."""

    def came_home(self, peer: str, report: Mapping[str, str]) -> None:
        """A report has come from another broker, of a message that was sent there. `report`: its headers."""


def wants_reports(message: Message) -> bool:
    """Tell whether somebody wants to know what becomes of a message."""
    return message.extra is not None and message.extra.report is not None
