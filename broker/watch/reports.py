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

from collections import deque
from collections.abc import Mapping

from broker.core.broker import Broker
from broker.core.lane import Read
from broker.core.message import WANTED, WANTED_OF_SEVERAL, Message
from broker.core.names import PEER
from broker.core.queue import Queue
from broker.core.reports import PROCESSED, SENT, Reports
from broker.core.subscription import Subscription
from broker.core.tracking import Part
from broker.errors import Refusal
from broker.peering.queue import PeerQueue, PeerRoute
from broker.reporting import (
    ARRIVED,
    KIND_OF,
    OWNER,
    PARTIAL,
    REPORT,
    REPORT_BY,
    REPORT_CAUSE,
    REPORT_ID,
    REPORT_TO,
    REPORTS,
    STATUS_OF,
    kinds_of,
)
from broker.tail import message_id, read_headers
from broker.watch.author import Author
from broker.watch.presence import Presence

BEYOND = 16 * 1024 * 1024  # bytes that reports may take on disk though the store is full


class Away:
    """A message that came from another broker, which keeps its status: reports go there."""

    __slots__ = ("id", "kinds", "report_to")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.report_to = headers[REPORT_TO]
        self.id = headers.get(REPORT_ID, "")  # what the message is called there
        self.kinds = kinds_of(headers.get(REPORT, ""))


class Reporter(Reports):
    """Writes reports and keeps the status."""

    def __init__(self, broker: Broker, author: Author, presence: Presence) -> None:
        self._broker = broker
        self._author = author
        self._presence = presence
        #: Reports that are not stored: what must be on disk before each, where it goes, and itself.
        self._waiting: deque[tuple[int, str, Message]] = deque()

    # broker.core.reports.Reports

    def arrived(self, queue: Queue, message: Message) -> None:
        """Begin to track a message, unless it only comes again."""
        wanted = message.mark().report
        is_new = wanted in (WANTED, WANTED_OF_SEVERAL) and not message.redelivered
        known = self._known(queue, message, is_new)
        on_its_way = isinstance(queue, PeerQueue)
        if isinstance(known, Away):
            if ARRIVED in known.kinds and is_new and not on_its_way:
                self._tell_home(known, queue, message, ARRIVED)
            return
        if known is not None and known.destination == queue.destination_of(message):
            return
        part = self._add(queue, message, known, wanted is WANTED)
        message.mark().report = part
        if part is None:
            return
        if on_its_way:
            told = {REPORT_TO: REPORTS, REPORT_ID: str(part.number)}
            message.tail = self._broker.annotate(message.tail, told)
        elif known is None and ARRIVED in part.kinds:
            self._write(part, ARRIVED)

    def sent(self, queue: Queue, message: Message) -> None:
        """A consumer is handed it. A link is none: it has to confirm."""
        part = self._known(queue, message)
        if isinstance(part, Part) and not isinstance(queue, PeerQueue):
            self._broker.tracking.change(part, SENT)

    def ended(
        self,
        queue: Queue,
        message: Message,
        status: str,
        cause: str = "",
        by: Subscription | None = None,
    ) -> None:
        """Note how it has ended, and report that. What a link has carried has come to the next broker."""
        known = self._known(queue, message)
        if known is None:
            return
        carried = status == PROCESSED and isinstance(queue, PeerQueue)
        if isinstance(known, Away):
            if not carried:
                self._tell_home(known, queue, message, KIND_OF[status], self._name(by), cause)
        elif carried:
            self._broker.tracking.change(known, SENT)
        else:
            self._end(known, status, self._name(by), cause)

    def came_home(self, peer: str, report: Mapping[str, str]) -> None:
        """Another broker tells what became of a message that was sent there."""
        number, kind = report.get(REPORT_ID, ""), report.get(REPORT, "")
        if not (number.isascii() and number.isdecimal() and len(number) < 20):
            return
        part = self._broker.tracking.get(int(number))
        if part is None or not part.destination.startswith(f"{PEER}{peer}/"):
            return  # it is forgotten, or another's
        if kind == ARRIVED:
            self._broker.tracking.change(part, SENT)
            if ARRIVED in part.kinds:
                self._write(part, ARRIVED)
        elif kind in STATUS_OF:
            by, cause = report.get(REPORT_BY, ""), report.get(REPORT_CAUSE, "")
            self._end(part, STATUS_OF[kind], by, cause)

    def _end(self, part: Part, status: str, by: str, cause: str) -> None:
        """Note how a part has ended, and report that if it is wanted."""
        tracking = self._broker.tracking
        if not tracking.change(part, status, by, cause):
            return
        kind = KIND_OF[status]
        if kind not in part.kinds:
            return
        pending = 0
        if status == PROCESSED:
            pending = sum(each.status != PROCESSED for each in tracking.copies_of(part))
            if pending and PARTIAL not in part.kinds:
                return
        self._write(part, kind, pending)

    def moved(self, queue: Queue, message: Message, twin: Message) -> None:
        """Track the twin instead."""
        known = self._known(queue, message)
        if isinstance(known, Part):
            self._broker.tracking.forget(known)
        message.mark().report = None
        twin.mark().report = known

    def _known(self, queue: Queue, message: Message, is_new: bool = False) -> Part | Away | None:
        """Return what is known of a message, None if nothing is yet. `is_new`: it cannot have a part."""
        extra = message.mark()
        if extra.report in (WANTED, WANTED_OF_SEVERAL):
            headers = read_headers(message.tail)
            found: Part | Away | None
            if headers.get(REPORT_TO, REPORTS) != REPORTS:
                found = Away(headers)
            else:
                found = None if is_new else self._find(headers, queue.destination_of(message))
            if found is not None:
                extra.report = found
            return found
        return extra.report if isinstance(extra.report, Part | Away) else None

    def _find(self, headers: Mapping[str, str], destination: str) -> Part | None:
        """Return the part of a message that was read back from the store."""
        for part in self._broker.tracking.find(id_of(headers)):
            if part.message_id == headers["message-id"] and part.destination == destination:
                return part
        return None

    def _add(self, queue: Queue, message: Message, moved: Part | None, alone: bool) -> Part | None:
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
                moved.alone,
            )
        headers = read_headers(message.tail)
        return tracking.add(
            id_of(headers),
            headers.get(OWNER, ""),
            destination,
            headers["message-id"],
            headers.get("reply-to", ""),
            sorted(kinds_of(headers[REPORT])),
            self._broker.now,
            message.durable,
            alone,
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
            headers[REPORT_BY] = part.by
        if part.cause:
            headers[REPORT_CAUSE] = part.cause
        if kind == KIND_OF[PROCESSED]:
            headers["report-pending"] = str(pending)
        self._send(part.reply_to, self._author.write(headers, b""), part.durable)

    def _tell_home(
        self,
        away: Away,
        queue: Queue,
        message: Message,
        kind: str,
        by: str = "",
        cause: str = "",
    ) -> None:
        """Send a report to the broker that keeps the status."""
        told = {
            REPORT: kind,
            REPORT_ID: away.id,
            "original-message-id": message_id(message.tail),
            "original-destination": queue.destination_of(message),
            REPORT_BY: by,
            REPORT_CAUSE: cause,
        }
        report = self._author.write({REPORT: kind}, b"")
        report.tail = self._broker.annotate(report.tail, told)
        self._send(away.report_to, report, message.durable)

    def _send(self, destination: str, report: Message, durable: bool) -> None:
        """Send a report as soon as what it says is on disk; as durable as its message if that is possible."""
        broker = self._broker
        try:
            route = broker.routes.find(destination)
        except Refusal:
            return  # a temporary queue that has gone
        report.durable = durable and route.durable
        if not (report.durable and isinstance(route, Queue | PeerRoute)):
            self._waiting.append((broker.next_seq, destination, report))
            broker.next_seq += 1
            broker.starving[self] = None
        elif broker.journal.room + BEYOND >= len(report.tail):
            broker.fit(report, route.policy)
            route.put_when_stored(report)

    def go_on(self, read: Read) -> None:
        """Something is on disk: put the reports that have waited for it, in their order."""
        broker, waiting = self._broker, self._waiting
        while waiting and waiting[0][0] <= broker.committed:
            _, destination, report = waiting.popleft()
            self._put_if_room(destination, report)
            if broker.late:
                break
        if waiting:
            is_on_disk = waiting[0][0] <= broker.committed
            (broker.again if is_on_disk else broker.starving)[self] = None

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


def id_of(headers: Mapping[str, str]) -> str:
    """Return the id by which the sender of a message asks for it."""
    return headers.get("correlation-id") or headers["message-id"]
