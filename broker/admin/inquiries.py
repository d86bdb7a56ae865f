"""Methods that tell what became of messages sent with `report`: to their senders, and all of them to administrators.

Knows who asks, because the office says so before each call. A sender is known by its login alone: it may ask on another
connection than it sent on, and after a restart of the broker.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from broker.admin.errand import turn
from broker.admin.faults import wrong
from broker.admin.finding import check_range
from broker.admin.outside import House
from broker.core.reports import STATUSES
from broker.core.tracking import Part, summary

MOST = 1000  # messages that are shown at once
ONE_GO = 200  # looked at before others get their turn

Object = dict[str, Any]


class Asker(NamedTuple):
    """Who asks."""

    login: str
    allowed: bool  # an administrator


class Inquiries:
    """Answers what is asked."""

    def __init__(self, house: House) -> None:
        self.asker = Asker("", allowed=False)  # of the call that begins now
        self._tracking = house.broker.tracking

    def tracked(self, id: str) -> Object:
        """Tell what became of the messages of an id, which is their correlation-id, else the message-id.

        Each destination has a part. The status is that of all: PROCESSED if all are, and no better than the worst.
        """
        login, allowed = self.asker
        parts = [each for each in self._tracking.find(id) if allowed or each.owner == login]
        if not parts:
            raise wrong("id", f"nothing is known of a message {id!r} that was sent with report")
        return {
            "id": id,
            "status": summary(parts),
            "sent": min(part.sent for part in parts),
            "changed": max(part.changed for part in parts),
            "parts": [show_part(part) for part in parts],
        }

    async def tracked_messages(
        self, status: str | None = None, limit: int = 100, after: str | None = None
    ) -> Object:
        """Show the status of messages that were sent with report, in no order; all, or those with a status.

        `next` is what to give as `after` for the following ones; null: there are no more.
        """
        check_range("limit", limit, 1, MOST)
        if status is not None and status not in STATUSES:
            raise wrong("status", f"one of {', '.join(STATUSES)}, not {status!r}")
        shown: list[Object] = []
        place = last = read_number(after)
        while True:
            await turn()
            parts = self._tracking.page(place, ONE_GO)
            for part in parts:
                place = part.number
                if status is not None and part.status != status:
                    continue
                if len(shown) == limit:
                    return {"messages": shown, "next": str(last)}
                known = {"id": part.id, "login": part.owner or None, "sent": part.sent}
                shown.append(known | show_part(part))
                last = place
            if len(parts) < ONE_GO:
                return {"messages": shown, "next": None}


def show_part(part: Part) -> Object:
    """Return what became of one copy of a message as an object of JSON; moments in milliseconds."""
    return {
        "destination": part.destination,
        "message_id": part.message_id,
        "persistent": part.durable,
        "status": part.status,
        "changed": part.changed,
        "by": part.by or None,
        "cause": part.cause or None,
    }


def read_number(text: str | None) -> int:
    """Return the number that the `next` of a page stands for; 0: the beginning."""
    if text is None:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise wrong("after", f"it is what an earlier call returned as next, not {text!r}")
    return int(text)
