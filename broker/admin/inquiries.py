"""Methods that tell what became of messages sent with `report`: to their senders, and all of them to administrators.

Knows who asks, because the office says so before each call. A sender is known by its login alone: it may ask on another
connection than it sent on, and after a restart of the broker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.admin.asking import Asker, Asking
from broker.admin.errand import durable, turn, until
from broker.admin.faults import wrong
from broker.admin.finding import check_range
from broker.admin.outside import House
from broker.core.reports import ENDS, STATUSES
from broker.core.tracking import Part, summary
from rpc.errors import Overloaded

MOST = 1000  # messages that are shown at once
ONE_GO = 200  # looked at before others get their turn
LONGEST = 60.0  # seconds that an answer may be waited for; who waits longer asks again
MOST_WAITING = 4000  # who wait: a third of what all requests may take
RETRY_AFTER = 1.0  # seconds, for those who come when there are so many

Object = dict[str, Any]


class Waiter:
    """A request that waits for the end of a message."""

    def __init__(self) -> None:
        self.time_is_up = False
        self.resume: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """Wait no longer."""
        self.time_is_up = True
        self.resume()


class Inquiries:
    """Answers what is asked."""

    def __init__(self, house: House, asking: Asking) -> None:
        self._asking = asking
        self._house = house
        self._tracking = house.broker.tracking
        self._tracking.tell_end = self._wake
        self._waiting: dict[str, dict[Waiter, None]] = {}  # by the id of the message
        self._waiters = 0

    async def tracked(self, id: str, wait: float = 0.0) -> Object:
        """Tell what became of the messages of an id, which is their correlation-id, else the message-id.

        Each destination has a part. The status is that of all: PROCESSED if all are, and no better than the worst.
        `wait`: so many seconds at most for it to be PROCESSED, FAILED or EXPIRED. What is told is on disk.
        """
        asker = self._asking.asker
        if not 0 <= wait <= LONGEST:
            raise wrong("wait", f"0 to {LONGEST:g} seconds, not {wait:g}")
        if wait and summary(self._parts(id, asker)) not in ENDS:
            await self._end_of(id, wait, asker)
        parts = self._parts(id, asker)
        found = {
            "id": id,
            "status": summary(parts),
            "sent": min(part.sent for part in parts),
            "changed": max(part.changed for part in parts),
            "parts": [show_part(part) for part in parts],
        }
        await durable(self._house.broker)
        return found

    def _parts(self, id: str, asker: Asker) -> list[Part]:
        """Return what somebody may see of the parts of an id. Raises `InvalidParams`: there is nothing."""
        found = self._tracking.find(id)
        parts = [each for each in found if asker.is_administrator or each.owner == asker.login]
        if not parts:
            raise wrong("id", f"nothing is known of a message {id!r} that was sent with report")
        return parts

    async def _end_of(self, id: str, seconds: float, asker: Asker) -> None:
        """Wait until a message has ended, or for so long."""
        if self._waiters >= MOST_WAITING:
            raise Overloaded("Too many wait for the end of messages", retry_after=RETRY_AFTER)
        waiter = Waiter()
        self._waiting.setdefault(id, {})[waiter] = None
        self._waiters += 1
        self._house.later(seconds, waiter.stop)

        def begin(resume: Callable[[], None]) -> None:
            waiter.resume = resume

        try:
            while not waiter.time_is_up and summary(self._parts(id, asker)) not in ENDS:
                await until(begin)
        finally:  # also when nobody wants it any more
            self._waiters -= 1
            del self._waiting[id][waiter]
            if not self._waiting[id]:
                del self._waiting[id]

    def _wake(self, id: str) -> None:
        """Something of an id has ended."""
        for waiter in self._waiting.get(id, ()):
            waiter.resume()

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
