"""What a SEND may ask for with `report`, and how it is checked. What becomes of it is in `broker.watch.reports`.

The headers are:

    report:processed,failed     a list of kinds; PARTIAL: also while others of several destinations are still out
    reply-to:/queue/…           where reports go; without it only the status is kept
    correlation-id:…            the id that reports bear, and under which the status is found; else the message-id
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from broker.core.fanout import Fanout, Route, Service
from broker.core.names import PEER, QUEUE, TEMP_QUEUE, TOPIC, check_name, elements_of, split
from broker.core.pattern import is_pattern
from broker.core.reports import EXPIRED, FAILED, PROCESSED
from broker.core.topic import Topic
from broker.core.tracking import MOST_PARTS
from broker.errors import Refusal

if TYPE_CHECKING:
    from broker.core.broker import Broker

REPORT = "report"
REPORT_TO = "report-to"  # where reports go of a message that came from another broker
REPORT_ID = "report-id"  # and what it is called there
REPORTS = "/queue/hoofbeat.reports"  # where a broker takes the reports that other brokers send it
REPORT_BY, REPORT_CAUSE = "report-by", "report-cause"  # of a report: who ended it, and why
OWNER = "report-owner"  # the login of who asked for reports: who else may see the status
ARRIVED, PARTIAL = "arrived", "partial"
#: The kinds of reports of a message's end.
KIND_OF = {PROCESSED: "processed", FAILED: "failed", EXPIRED: "expired"}
STATUS_OF = {kind: status for status, kind in KIND_OF.items()}
KINDS = (ARRIVED, *KIND_OF.values(), PARTIAL)
ID_BYTES = 1024  # of a correlation-id that is tracked
TO_PEERS = re.compile(r"^(/peer/[^/]+)+")
COST = 1500  # bytes that a copy takes on disk beside the message: part, note of its end, reports


def kinds_of(text: str) -> frozenset[str]:
    """Return the kinds of reports that a header asks for."""
    return frozenset(filter(None, (word.strip() for word in text.split(","))))


def check_report(
    headers: Mapping[str, str], destination: str, reply_to: str, broker: Broker
) -> None:
    """Check what a SEND asks of reports. Raises `Refusal`.

    `destination` and `reply_to` are as everybody knows them.
    """
    text = headers[REPORT]
    kinds = kinds_of(text)
    if not kinds or not kinds <= set(KINDS) or kinds == {PARTIAL}:
        raise Refusal(f"Invalid report: {text}", f"report is a list of: {', '.join(KINDS)}.")
    for element in elements_of(destination):
        there = TO_PEERS.sub("", element)
        if there.startswith(TOPIC) or not is_heard_of(broker.routes.find(element)):
            raise Refusal(
                f"No reports of {element}",
                "They are of messages in queues; name those, several with commas between them.",
            )
    id = headers.get("correlation-id", "")
    if len(id.encode()) > ID_BYTES:
        raise Refusal(f"The correlation-id is longer than {ID_BYTES} bytes", "Use a shorter one.")
    if reply_to.strip():
        _check_reply_to(reply_to)
    if id and not broker.tracking.has_room(id, broker.routes.find(destination).copies):
        raise Refusal(
            f"Too many messages are tracked as {id}",
            f"{MOST_PARTS} messages may have the same correlation-id; use a new one.",
        )


def is_heard_of(route: Route) -> bool:
    """Tell whether anybody hears what becomes of a message there: it, or a copy of it, comes to a queue."""
    if isinstance(route, Fanout):
        return any(map(is_heard_of, route.routes))
    return not isinstance(route, Topic | Service)


def _check_reply_to(reply_to: str) -> None:
    elements = elements_of(reply_to)
    prefix, name = split(elements[0])
    if len(elements) > 1 or prefix not in (QUEUE, TEMP_QUEUE, PEER) or is_pattern(name):
        raise Refusal(f"Reports cannot go to {reply_to}", "They go to one queue: /queue/NAME.")
    check_name(name)
