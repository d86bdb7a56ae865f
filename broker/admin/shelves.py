"""Methods for the messages that wait in queues: look at them, remove them, move them, delete the queue.

The precedent are ActiveMQ's operations (browse, purge, removeMatchingMessages, moveMatchingMessagesTo,
copyMatchingMessagesTo, retryMessages). What consumers have in their hands is never touched, but by `delete_queue`.

They go through a queue as far as it reaches, a few messages at a time, and others have their turns in between. What was
removed here and put there is in one batch of the journal: a kill neither loses a message nor makes two. It may leave
a part of the work undone, and then nobody was told that it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from broker.admin.asking import Asker, Asking
from broker.admin.faults import Refused, refused, wrong
from broker.admin.finding import check_range, find_queue, find_target, make_filter
from broker.admin.outside import House
from broker.admin.showing import show
from broker.admin.sifting import START, Place, expire, take, waiting_in
from broker.consumer import Consumer
from broker.core.fanout import Route
from broker.core.message import Message
from broker.core.names import split
from broker.core.policy import DEAD_LETTERS
from broker.core.queue import Queue
from broker.core.reports import wants_reports
from broker.core.several import Several
from broker.core.subscription import Subscription, Wants
from broker.core.temporary import TempQueue
from broker.core.topic import Topic
from broker.errors import NotAuthorized, Refusal
from broker.tail import message_id, read_headers
from broker.watch.presence import in_flight
from rpc.errors import InvalidParams

MOST = 1000  # messages that are shown at once
BROWSED_BYTES = 4 * 1024 * 1024  # of bodies and headers, after which a page ends
BODY_BYTES = 100 * 1024 * 1024  # of one body
ROUNDS = 100  # through a queue that is to be deleted and is still sent to

#: Headers of a dead letter that say how it became one.
ORIGIN, CAUSE = "original-destination", "dlqDeliveryFailureCause"
EXPIRATION, MODE = "originalExpiration", "originalDeliveryMode"

FOREVER = 2**53

Object = dict[str, Any]
#: Finds for a message where it is to go, and as what; None: nowhere.
Find = Callable[[Message], tuple[Route, Message] | None]


class Shelves:
    """Does what is asked with the messages that wait."""

    def __init__(self, house: House, asking: Asking) -> None:
        self._asking = asking
        self._house = house
        self._broker = house.broker

    def _queue(self, name: str, argument: str = "queue") -> Queue:
        """Return a queue that the caller may administer."""
        return find_queue(self._broker, name, self._asking.asker.check_administer, argument)

    def _shown(self, name: str) -> Queue:
        """Return a queue that the caller may look at."""
        return find_queue(self._broker, name, self._asking.asker.check_look)

    # Looking.

    async def browse(
        self,
        queue: str,
        limit: int = 100,
        after: str | None = None,
        selector: str | None = None,
        body_bytes: int = 1000,
    ) -> Object:
        """Show messages that wait, in order, each with the beginning of its body.

        `next` is what to give as `after` for the following ones; null: there are no more.
        """
        check_range("limit", limit, 1, MOST)
        check_range("body_bytes", body_bytes, 0, BROWSED_BYTES)
        source = self._shown(queue)
        wants = make_filter(self._broker, selector, source.destination)
        shown: list[Object] = []
        size = 0
        place = read_place(after)
        async for lane, message in waiting_in(source, place):
            if len(shown) >= limit or size >= BROWSED_BYTES:
                return {"messages": shown, "next": "{}:{}".format(*place)}
            if 0 < message.expires <= self._broker.now or not (wants is None or wants(message)):
                continue
            shown.append(show(message, body_bytes))
            size += min(len(message.tail), body_bytes + len(message.tail) - shown[-1]["size"])
            place = lane.priority, message.seq
        return {"messages": shown, "next": None}

    async def message(self, queue: str, id: str, body_bytes: int = BODY_BYTES) -> Object:
        """Show one message that waits."""
        check_range("body_bytes", body_bytes, 0, BODY_BYTES)
        source = self._shown(queue)
        async for _, message in waiting_in(source):
            if message_id(message.tail) == id:
                return show(message, body_bytes)
        raise wrong("id", f"no message {id!r} waits in {source.name}")

    # Removing.

    async def purge(self, queue: str, selector: str | None = None) -> Object:
        """Remove all messages that wait, or those that a selector means."""
        source = self._queue(queue)
        wants = make_filter(self._broker, selector, source.destination)
        return {"removed": await self._purge(source, wants)}

    async def _purge(self, source: Queue, wants: Wants | None) -> int:
        removed = 0
        async for lane, message in waiting_in(source):
            if wants is None or wants(message):
                take(source, lane, message)
                removed += 1
        return removed

    async def remove(self, queue: str, id: str) -> Object:
        """Remove one message that waits."""
        source = self._queue(queue)
        async for lane, message in waiting_in(source):
            if message_id(message.tail) == id:
                take(source, lane, message)
                return {"removed": 1}
        raise wrong("id", f"no message {id!r} waits in {source.name}")

    # Putting elsewhere.

    async def move(
        self, queue: str, to: str, selector: str | None = None, limit: int | None = None
    ) -> Object:
        """Move messages that wait, oldest first, to another queue or to a topic: all, or so many that match."""
        source, find = self._ends(self._queue(queue), to)
        wants = make_filter(self._broker, selector, source.destination)
        count, _ = await self._transfer("moved", source, find, wants, limit)
        return {"moved": count}

    async def copy(
        self, queue: str, to: str, selector: str | None = None, limit: int | None = None
    ) -> Object:
        """Copy messages that wait, oldest first, to another queue or to a topic: all, or so many that match."""
        source, find = self._ends(self._shown(queue), to)
        wants = make_filter(self._broker, selector, source.destination)
        count, _ = await self._transfer("copied", source, find, wants, limit, stay=True)
        return {"copied": count}

    async def retry(
        self,
        queue: str = DEAD_LETTERS,
        selector: str | None = None,
        limit: int | None = None,
        id: str | None = None,
    ) -> Object:
        """Put dead letters back where they came from, oldest first: all, those that match, or the one of an id.

        They are as they were: what made them dead letters is forgotten, a lifetime that is not over goes on. Those
        that do not say where they came from, or whose temporary destination is gone, stay: `skipped`. So do
        those that came from where the caller may not send.
        """
        source = self._queue(queue)
        wants = make_filter(self._broker, selector, source.destination)
        if id is not None:
            wants, limit = has_id(id, wants), 1
        find = partial(self._revive, source, self._asking.asker)
        count, skipped = await self._transfer("retried", source, find, wants, limit)
        if id is not None and not (count or skipped):
            raise wrong("id", f"no message {id!r} waits in {source.name}")
        return {"retried": count, "skipped": skipped}

    def _ends(self, source: Queue, to: str) -> tuple[Queue, Find]:
        self._asking.asker.clearance.check_put("".join(split(to.strip())))
        if find_target(self._broker, to, "to") is source:
            raise wrong("to", "the messages are there already")
        # Asked for each message, for meanwhile it may have been deleted, and made anew.
        return source, lambda message: (find_target(self._broker, to, "to"), message)

    def _revive(self, source: Queue, asker: Asker, letter: Message) -> tuple[Route, Message] | None:
        """Return where a dead letter came from, and what it was before; None if it cannot go there."""
        headers = read_headers(letter.tail)
        origin = headers.get(ORIGIN, "")
        try:
            asker.clearance.check_put("".join(split(origin.strip())))
            home = find_target(self._broker, origin, ORIGIN)
        except (InvalidParams, NotAuthorized):
            return None
        if home is source:
            return None
        message = letter.copy()
        expires = headers.get(EXPIRATION, "")
        moment = int(expires) if expires.isascii() and expires.isdecimal() else 0
        message.expires = moment if moment > self._broker.now else 0
        message.durable = headers.get(MODE) != "NON_PERSISTENT"
        message.tail = self._broker.annotate(
            letter.tail,
            {
                **dict.fromkeys((ORIGIN, CAUSE, EXPIRATION, MODE)),
                "expires": str(message.expires) if message.expires else None,
            },
        )
        return home, message

    async def _transfer(
        self,
        done: str,
        source: Queue,
        find: Find,
        wants: Wants | None,
        limit: int | None,
        stay: bool = False,
    ) -> tuple[int, int]:
        """Put what is wanted of a queue's messages where `find` says; return how many, and how many have no place.

        `done` is the word for it in the error that tells how many it were; with `stay` the originals do.
        """
        check_range("limit", limit, 1, FOREVER)
        count = skipped = 0
        async for lane, message in waiting_in(source):
            if 0 < message.expires <= self._broker.now:
                if not stay:
                    expire(source, lane, message)
                continue
            if not (wants is None or wants(message)):
                continue
            found = find(message)
            if found is None:
                skipped += 1
                continue
            target, model = found
            twin = self._twin(model, target, stay)
            try:
                self._admit(twin, target)
            except Refusal as error:
                raise refused(error, **{done: count}) from None
            if not stay:
                if not isinstance(target, Topic) and wants_reports(message):
                    self._broker.reports.moved(source, message, twin)
                take(source, lane, message)
            target.put(twin)
            count += 1
            if count == limit:
                break
        return count, skipped

    def _twin(self, model: Message, target: Route, stay: bool) -> Message:
        """Return a message for another destination: nobody has failed on it there.

        If the original is to `stay`, or it goes to a topic, it is nobody's to report on.
        """
        twin = self._broker.twin(model, model.durable and target.durable)
        twin.returns = 0
        twin.redelivered = False
        if twin.extra is not None:
            if stay or isinstance(target, Topic):
                twin.extra.report = None
            twin.extra.destination = ""
            twin.extra.retained = twin.extra.first_of_group = False
        self._broker.fit(twin, target.policy)
        return twin

    def _admit(self, message: Message, target: Route) -> None:
        """Raise `Refusal` unless there is room for a message."""
        self._broker.admit(message.durable, len(message.tail) * target.copies)
        full = next((queue for queue in target.limits() if queue.full), None)
        if full is not None:
            raise Refusal(
                f"The queue {full.name} is full", "It takes no more until messages are consumed."
            )

    # The queue itself.

    async def delete_queue(self, name: str, force: bool = False) -> Object:
        """Delete a queue. With `force` also one that has messages, which are lost, or consumers.

        The connections of its consumers are ended with an ERROR, as with RabbitMQ: STOMP has no other way to tell them.
        """
        queue = self._queue(name, "name")
        if isinstance(queue, TempQueue):
            raise wrong("name", f"{queue.destination} goes with its connection: close that")
        waiting, held, consumers = queue.waiting, in_flight(queue), self._consumers_of(queue)
        if not force and (waiting or held or consumers):
            raise Refused(
                f"{queue.name} has {waiting} messages that wait, {held} in flight and {len(consumers)} consumers;"
                " with force its messages are lost and the connections of its consumers end",
                {"waiting": waiting, "in_flight": held, "consumers": len(consumers)},
            )
        removed = 0
        for _ in range(ROUNDS):
            for session in {each.client.session for each in self._consumers_of(queue)}:
                self._house.dismiss(session, Refusal(f"The queue {queue.name} was deleted"))
            removed += await self._purge(queue, None)
            if self._broker.routes.queues.get(queue.name) is not queue:
                return {"removed": removed}  # somebody else was faster
            if not (queue.waiting or in_flight(queue) or self._consumers_of(queue)):
                self._broker.routes.remove_queue(queue)
                return {"removed": removed}
        raise Refused(f"{queue.name} is still in use", {"removed": removed})

    def _consumers_of(self, queue: Queue) -> list[Consumer]:
        """Return those who take from a queue, but for those who would take from any and have nothing of it."""
        holders = {each for each in queue.subscriptions if not each.roams}
        return [
            consumer
            for subscription, consumer in self._house.presence.consumers.items()
            if any(part in holders for part in parts_of(subscription, queue))
        ]


def parts_of(subscription: Subscription, queue: Queue) -> list[Subscription]:
    """Return what of a subscription takes from a queue."""
    several = subscription.queue
    if isinstance(several, Several):
        return [several.parts[queue]] if queue in several.parts else []
    return [subscription] if several is queue else []


def has_id(id: str, wants: Wants | None) -> Wants:
    """Return what tells whether a message has an id, and matches."""
    return lambda message: message_id(message.tail) == id and (wants is None or wants(message))


def read_place(text: str | None) -> Place:
    """Return the place that the `next` of a page stands for."""
    if text is None:
        return START
    priority, _, seq = text.partition(":")
    if not all(part.isascii() and part.isdecimal() and len(part) < 20 for part in (priority, seq)):
        raise wrong("after", f"it is what an earlier call returned as next, not {text!r}")
    return int(priority), int(seq)
