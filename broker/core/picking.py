"""Serving consumers who choose: by selector, by group, by rank, one exclusively.

Each consumer goes through the queue at a pace of its own (a `Walk`). Where it stands is a number a lane
(`places`): it has been asked about every message up to there, and what it did not want, or might not have, it
passed. So it sees every message of a backlog however deep, in order, while nobody keeps more in memory than a
queue does anyway:

1. A new message goes to the first hungry consumer that has seen everything before it and wants it.
2. Else it joins its lane, and those who did not want it have passed it.
3. A hungry consumer goes on from its place: in memory, then through the store in chunks. Consumers take
   turns, so that one with much to look at does not keep the others waiting, and all of them together take no
   more at a go than other queues can wait for. The next go continues the round, unless there is something new.
4. What is given back returns to its lane, and whoever had passed its place has `missed` it.
5. A consumer takes no message that a hungry one of a higher rank may have: that one will come to it.

Whoever is hungry has seen everything, or the queue has asked for another go.

A message of a group (JMSXGroupID) may be had only by the consumer that has the group; the first to take one
of a free group has it from then on, until it goes or the group is closed. What others passed because of that
the group remembers, from the first to the last; when it is free they go back to there.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from enum import Enum
from itertools import chain
from typing import TYPE_CHECKING

from broker.core.lane import Lane, Read
from broker.core.message import Extra, Message
from broker.core.subscription import Subscription
from broker.core.walk import FEW, Group, Place, Walk

if TYPE_CHECKING:
    from broker.core.queue import Queue

ONE_GO = 1000  # messages looked at before other queues get their turn
ONE_TURN = 64  # and before other consumers of this one do
EACH_BYTES = 4096  # of a message that counts as one; a larger one counts as several
GROUPS = 10_000  # that are remembered; the one that was used longest ago is free again


class Fate(Enum):
    """What became of a message that a consumer was shown."""

    PASSED = 1  # it is not for this consumer, or too late for any
    LEFT = 2  # it is for one of a higher rank
    HANDED = 3
    FREED = 4  # handed over, and others must see again what they passed


class Picker:
    """Serves the consumers of one queue while some of them choose."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._walks: dict[Subscription, Walk] = {}
        # The highest rank first, and of one rank first those who had their turn longest ago.
        self._ranks: dict[int, dict[Walk, None]] = {}
        self._exclusive: list[Walk] = []  # while there are any, only the first of them is served
        self._groups: OrderedDict[str, Group] = OrderedDict()  # by last use
        self._grouped = False  # some message had a group
        self._left = 0  # messages that may still be looked at in this go
        self._round: deque[Walk] = deque()  # those who still get their turn
        self._anew = False  # somebody else may find something by now: a new round is due
        self._starves = False  # somebody waits for what is being written
        self._gave_way = False  # somebody left a message to one of a higher rank
        self._passed: list[Walk] = []  # those who did not want the newest message
        for subscription in queue.subscriptions:
            self.join(subscription)

    @property
    def needed(self) -> bool:
        """True while somebody chooses."""
        return bool(self._walks) and (
            self._grouped or any(consumer.chooses for consumer in self._walks)
        )

    def join(self, consumer: Subscription) -> None:
        """A consumer comes; it begins with the oldest message."""
        walk = self._walks[consumer] = Walk(consumer)
        ranks = self._ranks
        ranks.setdefault(walk.rank, {})[walk] = None
        self._ranks = {rank: ranks[rank] for rank in sorted(ranks, reverse=True)}
        if consumer.exclusive:
            self._exclusive.append(walk)
            self._exclusive.sort(key=lambda each: -each.rank)

    def leave(self, consumer: Subscription) -> None:
        """A consumer goes, and its groups are free."""
        self._anew = True
        walk = self._walks.pop(consumer)
        equals = self._ranks[walk.rank]
        del equals[walk]
        if not equals:
            del self._ranks[walk.rank]
        if consumer.exclusive:
            self._exclusive.remove(walk)
        for name in [name for name, group in self._groups.items() if group.owner is walk]:
            self._groups.pop(name).send_back(self._walks.values())

    def renew(self) -> None:
        """There is something that nobody has been shown."""
        self._anew = True

    def feed(self, consumer: Subscription) -> None:
        """A consumer may have become hungry."""
        if not consumer.hungry:
            return
        walk = self._walks[consumer]
        if self._exclusive and walk is not self._exclusive[0]:
            return
        self._left = ONE_TURN
        while self._serve(walk, None, alone=True):
            if self._left <= 0:
                self._ask()
                return

    def go_on(self, read: Read) -> None:
        """Serve everybody who is hungry, from the store too."""

        def read_counted(
            queue: int, priority: int, after: int, count: int, size: int
        ) -> list[tuple[int, bytes, bytes]]:
            rows = read(queue, priority, after, count, size)
            looked = len(rows)
            if looked < count:  # they may be large; else `size` has seen to it that they are not
                looked = max(looked, sum([len(row[2]) for row in rows]) // EACH_BYTES)
            self._left -= looked
            return rows

        self._left = ONE_GO
        if self._anew or not self._round:
            self._anew = self._starves = self._gave_way = False
            self._round = deque(self._in_charge())
        turns = self._round
        while turns:
            walk = turns.popleft()
            if not walk.consumer.hungry:
                continue
            self._have_turn(walk)
            if self._serve(walk, read_counted, alone=not turns):
                turns.append(walk)
            if turns and (self._left <= 0 or self._queue.broker.late):
                self._queue.broker.again[self._queue] = None  # to go on with those who are left
                return
        if self._starves:
            self._queue.broker.starving[self._queue] = None
        elif self._gave_way:
            self._ask()

    def offer(self, lane: Lane, message: Message) -> bool:
        """Hand a new message to whoever has seen everything before it and wants it, if there is one."""
        queue, passed = self._queue, self._passed
        passed.clear()
        if 0 < message.expires <= queue.broker.now:
            return False
        priority, last = lane.priority, lane.last
        alike = message.extra is None  # no group: it is the selectors' affair alone
        given_way_to: Walk | None = None  # who is on the way to it
        for walk in self._in_charge():
            if not walk.consumer.hungry:
                continue
            if given_way_to is not None and walk.rank < given_way_to.rank:
                break
            wants = walk.wants
            if not ((wants is None or wants(message)) if alike else self._may_have(walk, message)):
                if walk.places.get(priority, -1) >= last:
                    passed.append(walk)
            elif walk.has_seen(queue.lanes, lane):
                if message.durable and not walk.consumer.auto:
                    journal = queue.broker.journal
                    journal.put(queue.number, message)
                    lane.pass_by(message, journal)
                self._have_turn(walk)
                self._hand(walk, message, stored=False)
                return True
            elif given_way_to is None:
                given_way_to = walk
        return False

    def note(self, lane: Lane, message: Message) -> None:
        """The message that was offered has joined its lane: who did not want it has passed it."""
        for walk in self._passed:
            walk.places[lane.priority] = message.seq

    def give_back(self, messages: list[Message]) -> None:
        """These have returned to their lanes: whoever had passed them may want them."""
        self._anew = True
        by_priority: dict[int, list[Place]] = {}
        for message in messages:
            by_priority.setdefault(message.priority, []).append((-message.priority, message.seq))
        for priority, places in by_priority.items():
            places.sort()
            for walk in self._walks.values():
                walk.miss(priority, places)

    def _in_charge(self) -> Iterable[Walk]:
        """Return those who are served, first who comes first."""
        return self._exclusive[:1] or chain.from_iterable(self._ranks.values())

    @property
    def _ranked(self) -> bool:
        return len(self._ranks) > 1 and not self._exclusive

    def _have_turn(self, walk: Walk) -> None:
        """Put a consumer behind its equals."""
        equals = self._ranks[walk.rank]
        del equals[walk]
        equals[walk] = None

    def _ask(self) -> None:
        """Ask for another round, also if somebody else waits for what is being written."""
        self._anew = True
        self._queue.broker.again[self._queue] = None

    def _serve(self, walk: Walk, read: Read | None, alone: bool) -> bool:
        """Give a consumer its turn; tell whether it could go on.

        Its turn is one message, a chunk of the store, or so many messages that it did not want. `alone`: nobody
        waits for a turn. Without `read` the queue asks for a go when the store must be read.
        """
        end = self._left - ONE_TURN
        for lane in self._queue.lanes:
            while (message := walk.next_missed(lane)) is not None:
                self._left -= 1
                fate = self._try(walk, lane, message, given_back=True)
                if fate is Fate.LEFT:
                    walk.missed.add((-message.priority, message.seq))
                    return False
                if fate is not Fate.PASSED:
                    return walk.consumer.hungry
                if self._left <= end:
                    return True
            while walk.places.get(lane.priority, -1) < lane.last:
                if self._left <= end:
                    return True
                ahead = self._look_ahead(walk, lane, read)
                if ahead is None:
                    return False
                goes_on = self._show(walk, lane, *ahead, alone)
                if goes_on is not None:
                    return goes_on
                if read is not None and self._queue.broker.late:
                    walk.count = FEW  # it may have been this consumer that took so long
                    return True
        return False

    def _look_ahead(
        self, walk: Walk, lane: Lane, read: Read | None
    ) -> tuple[list[Message], int, bool] | None:
        """Return what follows a consumer's place, up to where that is all, and whether it was read.

        None: that cannot be known now.
        """
        consumer, broker = walk.consumer, self._queue.broker
        place = walk.places.get(lane.priority, -1)
        count = walk.count
        if walk.wants is None and not consumer.auto:
            count = min(count, consumer.credit)
        some = lane.in_memory(place, count)
        if some:
            return some, some[-1].seq, False
        if not lane.behind:
            return some, lane.last, False
        if read is None:
            self._ask()
            return None
        some, reach = lane.in_store(
            place,
            count,
            count * EACH_BYTES,
            self._queue.number,
            read,
            broker.suspect_before,
            broker.committed,
        )
        if not some and reach == place:
            self._starves = True
            return None
        return some, reach, True

    def _show(
        self, walk: Walk, lane: Lane, some: list[Message], reach: int, was_read: bool, alone: bool
    ) -> bool | None:
        """Let a consumer have what it wants of some messages, after which it has come as far as `reach`.

        Return whether it could go on after this turn; None: this turn is not over, for it wanted none.
        """
        consumer, wants = walk.consumer, walk.wants
        places, priority = walk.places, lane.priority
        handed = False
        goes_on: bool | None = None
        for message in some:
            if not (message.expires or message.extra or wants is None or wants(message)):
                continue
            places[priority] = message.seq
            fate = self._try(walk, lane, message, given_back=False)
            if fate is Fate.LEFT:
                places[priority] = message.seq - 1
                goes_on = False
                break
            if fate is Fate.PASSED:
                continue
            handed = True
            if fate is Fate.FREED or not consumer.hungry or not (alone or was_read):
                goes_on = consumer.hungry
                break
        else:
            places[priority] = reach
            if handed:
                goes_on = True
        if not was_read:
            self._left -= len(some) if goes_on is None else some.index(message) + 1
        walk.count = FEW if handed else min(2 * walk.count, ONE_TURN)
        return goes_on

    def _try(self, walk: Walk, lane: Lane, message: Message, given_back: bool) -> Fate:
        """Hand a consumer a message that waits, if it wants it and may have it."""
        queue, broker = self._queue, self._queue.broker
        if 0 < message.expires <= broker.now:
            queue.taken(lane, message)
            broker.expire(queue, message)
            return Fate.PASSED
        if not self._may_have(walk, message, given_back):
            return Fate.PASSED
        if self._ranked and self._is_before(walk, message):
            self._gave_way = True
            return Fate.LEFT
        queue.taken(lane, message)
        return Fate.FREED if self._hand(walk, message, stored=True) else Fate.HANDED

    def _may_have(self, walk: Walk, message: Message, given_back: bool = False) -> bool:
        extra = message.extra
        if extra is not None and extra.group and self._queue.grouping:
            self._grouped = True
            group = self._groups.get(extra.group)
            if group is not None and group.owner is not walk:
                group.pass_by(message, given_back)
                return False
        return walk.wants is None or walk.wants(message)

    def _is_before(self, walk: Walk, message: Message) -> bool:
        """Tell whether somebody of a higher rank will come to a message that a consumer wants."""
        for other in self._in_charge():
            if other.rank <= walk.rank:
                return False
            if other.consumer.hungry and self._may_have(other, message):
                return True
        return False

    def _hand(self, walk: Walk, message: Message, stored: bool) -> bool:
        """Hand a message over; tell whether that sent others back. `stored`: its record is there or on the way."""
        queue, consumer = self._queue, walk.consumer
        extra = message.extra
        freed = False
        if extra is not None and extra.group and queue.grouping:
            freed = self._take_group(walk, extra)
        if extra is not None and extra.report is not None:
            queue.report_sent(message, consumer)
        if consumer.auto:
            if stored:
                queue.done(message)
            consumer.deliver(message)
        else:
            consumer.in_flight[consumer.deliver(message)] = message
            consumer.credit -= 1
        return freed

    def _take_group(self, walk: Walk, extra: Extra) -> bool:
        """Give a consumer the group of a message that it gets; tell whether a free one sent others back."""
        groups, name = self._groups, extra.group
        extra.first_of_group = name not in groups
        if extra.first_of_group:
            groups[name] = Group(walk)
        groups.move_to_end(name)
        if extra.closes_group:
            free = groups.pop(name)
        elif len(groups) > GROUPS:
            _, free = groups.popitem(last=False)
        else:
            return False
        if not free.send_back(self._walks.values()):
            return False
        self._ask()
        return True
