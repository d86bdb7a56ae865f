"""Serving consumers who choose: by selector, by group, by rank, one exclusively.

Each consumer walks the queue at a pace of its own. Where it stands is a number a lane (`place`): it has been
asked about every message up to there, and what it did not want, it passed. So it sees every message of a
backlog however deep, in order, while nobody keeps more in memory than a queue does anyway:

1. A new message goes to the first hungry consumer that has seen everything before it and wants it.
2. Else it joins its lane, and those who did not want it have passed it.
3. A consumer with credit goes on from its place: first in memory, then through the store in chunks, as many
   a go as others can wait for.
4. What is given back is kept here (`returned`), and whoever has passed it and may want it is told (`missed`).

A message of a group (JMSXGroupID) is wanted only by the consumer that has the group; the first to take one
of a free group has it from then on, until it goes or the group is closed. When groups become free everybody
begins anew, because what they passed may be theirs now.
"""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from typing import TYPE_CHECKING

from broker.core.lane import Lane, Read
from broker.core.message import Extra, Message
from broker.core.subscription import Subscription

if TYPE_CHECKING:
    from broker.core.queue import Queue

ONE_GO = 1000  # messages looked at before others get their turn
FEW = 16  # messages looked at first: a consumer that wants most of them needs no more
GROUPS = 10_000  # that are remembered; the one that was used longest ago is free again


class Picker:
    """Serves the consumers of one queue while some of them choose."""

    def __init__(self, queue: Queue) -> None:
        self.returned: dict[int, Message] = {}  # given back, by seq
        self._queue = queue
        self._consumers: list[Subscription] = []  # by rank, then who was served longest ago
        self._places: dict[Subscription, dict[int, int]] = {}  # priority → seq
        self._missed: dict[Subscription, list[tuple[int, int]]] = {}  # (-priority, seq), sorted
        self._groups: OrderedDict[str, Subscription] = OrderedDict()  # by last use
        self._grouped = False  # some message had a group
        self._looked = 0  # messages in this go
        self._passed: list[dict[int, int]] = []  # places of those who did not want the newest
        for subscription in queue.subscriptions:
            self.join(subscription)

    @property
    def needed(self) -> bool:
        """True while somebody chooses."""
        return bool(self._consumers) and (
            self._grouped or any(consumer.chooses for consumer in self._consumers)
        )

    def join(self, consumer: Subscription) -> None:
        """A consumer comes; it begins with the oldest message."""
        consumers = self._consumers
        consumers.append(consumer)
        consumers.sort(key=rank)
        self._places[consumer] = {}
        self._missed[consumer] = self._wanted_back(consumer)

    def leave(self, consumer: Subscription) -> None:
        """A consumer goes, and its groups are free."""
        self._consumers.remove(consumer)
        del self._places[consumer], self._missed[consumer]
        for group in [group for group, owner in self._groups.items() if owner is consumer]:
            del self._groups[group]
        if self._grouped:
            for each in self._consumers:
                self._places[each].clear()
                self._missed[each] = self._wanted_back(each)

    def feed(self, consumer: Subscription) -> None:
        """A consumer may have become hungry."""
        self._looked = 0
        if self._equals():
            if consumer.hungry:
                self._serve(consumer, ONE_GO, None)
        else:
            self._dispatch(None)

    def go_on(self, read: Read) -> None:
        """Serve everybody who is hungry, from the store too."""
        self._looked = 0
        self._dispatch(read)

    def offer(self, lane: Lane, message: Message) -> bool:
        """Hand a new message to whoever has seen everything before it and wants it, if there is one."""
        broker = self._queue.broker
        passed = self._passed
        passed.clear()
        if message.expires and message.expires <= broker.now:
            return False
        for consumer in self._in_charge():
            places = self._places[consumer]
            if consumer.hungry and places.get(lane.priority, -1) >= lane.last:
                if self._wants(consumer, message):
                    if message.durable and not consumer.auto:
                        broker.journal.put(self._queue.number, message)
                    self._hand(consumer, message)
                    return True
                passed.append(places)
        return False

    def note(self, lane: Lane, message: Message) -> None:
        """The message that was offered has joined its lane: who did not want it has passed it."""
        for places in self._passed:
            places[lane.priority] = message.seq

    def give_back(self, messages: list[Message]) -> None:
        """Consumers will not finish these: whoever wants them may have them."""
        for message in messages:
            self.returned[message.seq] = message
            for consumer, missed in self._missed.items():
                if consumer.wants is None or consumer.wants(message):
                    insort(missed, (-message.priority, message.seq))

    def take_expired(self, lane: Lane) -> list[Message]:
        """Take out what has expired of what was given back to a lane; note when the next of it does."""
        expired = []
        for message in list(self.returned.values()):
            if message.priority != lane.priority:
                continue
            if 0 < message.expires <= self._queue.broker.now:
                expired.append(self.returned.pop(message.seq))
            else:
                lane.expects(message)
        return expired

    def _in_charge(self) -> list[Subscription]:
        """Return the consumers that are served, first who comes first."""
        for consumer in self._consumers:
            if consumer.exclusive:
                return [consumer]
        return self._consumers

    def _equals(self) -> bool:
        """True when no consumer comes before another."""
        return all(not c.exclusive and c.rank == self._consumers[0].rank for c in self._consumers)

    def _dispatch(self, read: Read | None) -> None:
        """Serve in rounds: everybody of the first rank, a message each, as long as one takes any."""
        consumers = self._in_charge()
        ranks = sorted({consumer.rank for consumer in consumers}, reverse=True)
        for each in ranks:
            served = True
            while served:
                if self._looked >= ONE_GO:
                    self._queue.ask()
                    return
                served = False
                for consumer in [c for c in consumers if c.rank == each]:
                    if consumer.hungry and self._serve(consumer, 1, read):
                        served = True

    def _serve(self, consumer: Subscription, most: int, read: Read | None) -> int:
        """Hand a consumer what it wants from its place on, `most` messages or a chunk of the store.

        Return how many.
        """
        queue, served = self._queue, self._serve_returned(consumer, most)
        broker, places = queue.broker, self._places[consumer]
        for lane in queue.lanes:
            place = places.get(lane.priority, -1)
            count = FEW
            while served < most and consumer.hungry and place < lane.last:
                if self._looked >= ONE_GO or (read is None and lane.is_behind(place)):
                    queue.ask()
                    return served
                in_memory = not lane.is_behind(place)
                some, reach = lane.after(
                    place,
                    count,
                    queue.number,
                    read or nothing,
                    broker.suspect_before,
                    broker.committed,
                )
                if not some and reach == place:
                    broker.starving[queue] = None
                    return served
                count = min(2 * count, ONE_GO)
                for message in some:
                    self._looked += 1
                    place = places[lane.priority] = message.seq
                    if message.expires and message.expires <= broker.now:
                        queue.taken(lane, message)
                        broker.expire(queue, message)
                    elif self._wants(consumer, message):
                        queue.taken(lane, message)
                        self._hand(consumer, message, stored=True)
                        served += 1
                        if not consumer.hungry or (in_memory and served >= most):
                            return served
                place = places[lane.priority] = reach
        return served

    def _serve_returned(self, consumer: Subscription, most: int) -> int:
        """Hand a consumer what others gave back."""
        queue, missed, served = self._queue, self._missed[consumer], 0
        while missed and consumer.hungry and served < most:
            message = self.returned.get(missed.pop(0)[1])
            if message is None or not self._wants(consumer, message):
                continue
            del self.returned[message.seq]
            queue.waits_no_longer(message)
            if message.expires and message.expires <= queue.broker.now:
                queue.broker.expire(queue, message)
                continue
            self._hand(consumer, message, stored=True)
            served += 1
        return served

    def _wants(self, consumer: Subscription, message: Message) -> bool:
        extra = message.extra
        if extra is not None and extra.group and self._queue.grouping:
            self._grouped = True
            if self._groups.get(extra.group, consumer) is not consumer:
                return False
        return consumer.wants is None or consumer.wants(message)

    def _hand(self, consumer: Subscription, message: Message, stored: bool = False) -> None:
        """Hand a message over. `stored`: its record is there or on the way."""
        queue = self._queue
        extra = message.extra
        if extra is not None and extra.group and queue.grouping:
            self._take_group(consumer, extra)
        if consumer.auto:
            if stored:
                queue.done(message)
            consumer.deliver(message)
        else:
            consumer.in_flight[consumer.deliver(message)] = message
            consumer.credit -= 1
        if len(self._consumers) > 1 and not consumer.exclusive:  # the next one is served first
            self._consumers.remove(consumer)
            self._consumers.append(consumer)
            self._consumers.sort(key=rank)

    def _take_group(self, consumer: Subscription, extra: Extra) -> None:
        groups = self._groups
        extra.first_of_group = extra.group not in groups
        groups[extra.group] = consumer
        groups.move_to_end(extra.group)
        if extra.closes_group:
            del groups[extra.group]
        elif len(groups) > GROUPS:
            groups.popitem(last=False)

    def _wanted_back(self, consumer: Subscription) -> list[tuple[int, int]]:
        """Return what was given back and may be for a consumer."""
        return sorted(
            (-message.priority, message.seq)
            for message in self.returned.values()
            if consumer.wants is None or consumer.wants(message)
        )


def rank(consumer: Subscription) -> int:
    """Return the sorting key of a consumer: the highest rank first."""
    return -consumer.rank


def nothing(
    queue: int, priority: int, after: int, count: int, size: int
) -> list[tuple[int, bytes, bytes]]:
    """Take the place of a store that is not asked just now."""
    return []
