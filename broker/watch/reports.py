"""Reports: what senders hear of their messages, and the status that is kept of each.

    SEND report:processed ─▶ arrived ─▶ a part of `Tracking` QUEUED             all of a step in one batch:
                             sent ─▶ SENT                                       the part, the report,
                             ended ─▶ PROCESSED, FAILED, EXPIRED ─▶ report      and what caused them

A report is a message to the sender's `reply-to`, stored if the message was, and nobody is handed it before its
batch is on disk: what it says is true, whatever happens next (`Queue.put_when_stored`).

Reports are not admitted as messages are: where a message has ended there is mostly room for what tells so. On disk they
may take a little beyond the limit, for whoever makes room is to hear of it; in memory, what the limit leaves. Else only
the status tells.
"""

from __future__ import annotations

from broker.core.broker import Broker
from broker.core.later import Later
from broker.core.message import WANTED, Message
from broker.core.queue import Queue
from broker.core.reports import PROCESSED, SENT
from broker.core.subscription import Subscription
from broker.core.tracking import Part
from broker.errors import Refusal
from broker.reporting import ARRIVED, KIND_OF, OWNER, PARTIAL, REPORT, kinds_of
from broker.tail import message_id, read_headers
from broker.watch.author import Author
from broker.watch.presence import Presence

BEYOND = 16 * 1024 * 1024  # bytes that reports may take on disk though the store is full


class Reporter:
    """Writes reports and keeps the status."""

    def __init__(self, broker: Broker, author: Author, presence: Presence) -> None:
        self._broker = broker
        self._author = author
        self._presence = presence

    # broker.core.reports.Reports

    def arrived(self, queue: Queue, message: Message) -> None:
        """Begin to track a message, unless it only comes again."""
        is_new = message.mark().report is WANTED and not message.redelivered
        known = None if is_new else self._part_of(queue, message)
        if known is not None and known.destination == queue.destination_of(message):
            return
        part = self._add(queue, message, known)
        message.mark().report = part
        if part is not None and known is None and ARRIVED in part.kinds:
            self._write(part, ARRIVED)

    def sent(self, queue: Queue, message: Message) -> None:
        """A consumer is handed it."""
        part = self._part_of(queue, message)
        if part is not None:
            self._broker.tracking.change(part, SENT)

    def ended(
        self,
        queue: Queue,
        message: Message,
        status: str,
        cause: str = "",
        by: Subscription | None = None,
    ) -> None:
        """Note how it has ended, and report that."""
        part = self._part_of(queue, message)
        if part is None or not self._broker.tracking.change(part, status, self._name(by), cause):
            return
        kind = KIND_OF[status]
        if kind not in part.kinds:
            return
        pending = 0
        if status == PROCESSED:
            parts = self._broker.tracking.find(part.id)
            pending = sum(
                each.message_id == part.message_id and each.status != PROCESSED for each in parts
            )
            if pending and PARTIAL not in part.kinds:
                return
        self._write(part, kind, pending)

    def moved(self, queue: Queue, message: Message, twin: Message) -> None:
        """Track the twin instead."""
        part = self._part_of(queue, message)
        if part is not None:
            self._broker.tracking.forget(part)
        message.mark().report = None
        twin.mark().report = part

    def _part_of(self, queue: Queue, message: Message) -> Part | None:
        """Return what is known of a message, None if nothing is yet."""
        extra = message.mark()
        if extra.report is WANTED:
            id = tracked_as(message)
            own = message_id(message.tail)
            destination = queue.destination_of(message)
            for part in self._broker.tracking.find(id):
                if part.message_id == own and part.destination == destination:
                    extra.report = part
                    return part
            return None
        return extra.report if isinstance(extra.report, Part) else None

    def _add(self, queue: Queue, message: Message, moved: Part | None) -> Part | None:
        tracking, destination = self._broker.tracking, queue.destination_of(message)
        if moved is not None:
            return tracking.add(
                moved.id,
                moved.owner,
                destination,
                moved.message_id,
                moved.reply_to,
                moved.kinds,
                moved.sent,
                message.durable,
            )
        headers = read_headers(message.tail)
        return tracking.add(
            headers.get("correlation-id") or headers["message-id"],
            headers.get(OWNER, ""),
            destination,
            headers["message-id"],
            headers.get("reply-to", ""),
            sorted(kinds_of(headers[REPORT])),
            self._broker.now,
            message.durable,
        )

    def _name(self, by: Subscription | None) -> str:
        """Return what a consumer's client is called: by its client-id, its login, or its session."""
        consumer = None if by is None else self._presence.consumers.get(by)
        if consumer is None:
            return ""
        client = consumer.client
        return client.client_id or client.login or client.session

    def _write(self, part: Part, kind: str, pending: int = 0) -> None:
        """Send a report, if there is somewhere to send it."""
        if not part.reply_to:
            return
        headers = {
            "correlation-id": part.id,
            "report": kind,
            "original-message-id": part.message_id,
            "original-destination": part.destination,
        }
        if part.by:
            headers["report-by"] = part.by
        if part.cause:
            headers["report-cause"] = part.cause
        if kind == PROCESSED_KIND:
            headers["report-pending"] = str(pending)
        self.send(part.reply_to, self._author.write(headers, b""), part.durable)

    def send(self, destination: str, report: Message, durable: bool) -> None:
        """Send a report as soon as what it says is on disk; as durable as its message if that is possible."""
        broker = self._broker
        try:
            route = broker.routes.find(destination)
        except Refusal:
            return  # a temporary queue that has gone
        report.durable = durable and route.durable
        if not (report.durable and isinstance(route, Queue)):
            Later(broker, lambda: self._put_if_room(destination, report))
        elif broker.journal.room + BEYOND >= len(report.tail):
            broker.fit(report, route.policy)
            route.put_when_stored(report)

    def _put_if_room(self, destination: str, report: Message) -> None:
        """Put what nobody waits for, behind what has come meanwhile."""
        broker = self._broker
        try:
            route = broker.routes.find(destination)
            broker.admit(report.durable, len(report.tail))
            report.seq = broker.next_seq
            broker.next_seq += 1
            route.put(report)
        except Refusal:
            return


PROCESSED_KIND = KIND_OF[PROCESSED]


def tracked_as(message: Message) -> str:
    """Return the id by which the sender of a message asks for it."""
    headers = read_headers(message.tail)
    return headers.get("correlation-id") or headers["message-id"]
