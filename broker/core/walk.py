"""How far one consumer that chooses has come in its queue, and what sends it back.

Where it stands is a number a lane. Two things lie behind that and may be for it all the same: what was given
back after it had passed (`Walk.missed`), and what it passed because another consumer had the group (`Group`).
Knows no queue; who is served when is the business of `broker.core.picking`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import chain

from broker.core.lane import Lane
from broker.core.message import Message
from broker.core.subscription import Subscription

FEW = 16  # messages read at first: a consumer that wants most of them needs no more
MISSED = 10_000  # messages given back that are remembered one by one; of more, where they begin

#: A message's priority, negative, and seq: in the order of the queue.
Place = tuple[int, int]


class Walk:
    """One consumer on its way through the queue."""

    __slots__ = ("_to_see", "consumer", "count", "missed", "places", "rank", "wants")

    def __init__(self, consumer: Subscription) -> None:
        self.consumer = consumer
        self.rank = consumer.rank
        self.wants = consumer.wants
        self.places: dict[int, int] = {}  # priority → seq; a lane that is not there was not begun
        self.count = FEW  # messages to read at once: the more, the fewer it wants
        self.missed: set[Place] = set()  # given back after it had passed them
        self._to_see: list[Place] = []  # the same, last first

    @property
    def has_missed(self) -> bool:
        """True when it must look at something that was given back."""
        return bool(self.missed or self._to_see)

    def has_seen(self, lanes: Iterable[Lane], last: Lane) -> bool:
        """Tell whether it has seen all that comes before a new message of the lane `last`."""
        places = self.places
        for lane in lanes:
            if places.get(lane.priority, -1) < lane.last:
                return False
            if lane is last:
                break
        return not self.has_missed

    def miss(self, priority: int, given_back: Sequence[Place]) -> None:
        """Some messages of a lane, in order, were given back: remember those whose places it has passed."""
        passed = bisect_right(given_back, (-priority, self.places.get(priority, -1)))
        self.missed.update(given_back[:passed])
        if len(self.missed) + len(self._to_see) > MISSED:
            for negative, seq in chain(self.missed, self._to_see):
                self.go_back(-negative, seq - 1)
            self.missed.clear()
            self._to_see.clear()

    def next_missed(self, lane: Lane) -> Message | None:
        """Return the first message of a lane that it has missed, and remember it no longer."""
        if self.missed:
            self._to_see = sorted(self.missed.union(self._to_see), reverse=True)
            self.missed.clear()
        to_see, priority = self._to_see, -lane.priority
        while to_see and to_see[-1][0] == priority:
            _, seq = to_see.pop()
            if seq <= self.places.get(lane.priority, -1):  # else it will come to it
                message = lane.find(seq)
                if message is not None:
                    return message
        return None

    def go_back(self, priority: int, place: int) -> None:
        """Begin a lane anew after a place, unless that is still to come."""
        if place < self.places.get(priority, -1):
            self.places[priority] = place


class Group:
    """Messages that are for one consumer."""

    __slots__ = ("_missed", "_passed", "owner")

    def __init__(self, owner: Walk) -> None:
        self.owner = owner
        # What others passed because it was not theirs.
        self._passed: dict[int, tuple[int, int]] = {}  # priority → seq of the first, of the last
        self._missed: set[Place] = set()  # what had been given back

    def pass_by(self, message: Message, given_back: bool) -> None:
        """Somebody passes a message of the group."""
        priority, seq = message.priority, message.seq
        if given_back:
            self._missed.add((-priority, seq))
            if len(self._missed) > MISSED:  # a group may live as long as the broker
                self._forget_each()
        else:
            first, last = self._passed.get(priority, (seq, seq))
            self._passed[priority] = min(first, seq), max(last, seq)

    def send_back(self, walks: Iterable[Walk]) -> bool:
        """The group is free: let others see again what they passed, as far as it may still be there.

        Return whether they passed anything.
        """
        if not (self._passed or self._missed):
            return False
        owner = self.owner
        took_all = owner.wants is None and not owner.has_missed  # up to its place
        for walk in walks:
            if walk is owner:
                continue
            for priority, (first, last) in self._passed.items():
                place = max(first - 1, owner.places.get(priority, -1) if took_all else -1)
                if place < last:
                    walk.go_back(priority, place)
            walk.missed |= self._missed
        return True

    def _forget_each(self) -> None:
        """Remember of what had been given back only where it begins and ends."""
        for negative, seq in self._missed:
            first, last = self._passed.get(-negative, (seq, seq))
            self._passed[-negative] = min(first, seq), max(last, seq)
        self._missed.clear()
