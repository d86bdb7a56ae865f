"""What has expired while it waited, found and given up now and then; nobody need come and ask for it.

Whatever is handed out is looked at then, so nothing expired is ever delivered. This is for what nobody takes:

1. A lane knows a moment before which none of its messages expires (`Lane.soonest`). `sweep` picks those lanes
   for which it has come; all others cost one comparison.
2. What a lane has in memory is looked through at once, and what has expired of it is given up in goes. The rest is
   read from the store, in goes too, up to the message that was the newest. Nothing of it is kept.
3. Then it is known when the next one expires. A lane in which nothing does is not looked through again until
   such a message is put there.

A sweep reads so much and no more; what is left is for the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from broker.core.lane import NEVER, Lane, Read
from broker.core.message import Message

if TYPE_CHECKING:
    from broker.core.broker import Broker
    from broker.core.queue import Queue

ONE_GO = 500  # messages read before others get their turn
ONE_SWEEP = 100_000  # messages read from the store
ONE_SWEEP_BYTES = 256 * 1024 * 1024  # bytes of them


class Walk:
    """A walk through one lane."""

    __slots__ = ("begun", "expired", "lane", "last", "place", "queue", "soonest")

    def __init__(self, queue: Queue, lane: Lane) -> None:
        self.queue = queue
        self.lane = lane
        self.begun = False
        self.expired: list[Message] = []  # in memory, still to be given up; the first last
        self.place = -1  # seq up to which it was looked through
        self.last = -1  # seq to which it goes
        self.soonest = NEVER  # when the first message expires of those that were passed


class Expiry:
    """Gives up what has expired."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._walks: deque[Walk] = deque()  # the first is under way
        self._left = 0  # messages that this sweep may still read
        self._left_bytes = 0

    def sweep(self, queues: Iterable[Queue]) -> None:
        """Begin to look through these, or go on where the last sweep has ended."""
        now = self._broker.now
        self._left, self._left_bytes = ONE_SWEEP, ONE_SWEEP_BYTES
        if not self._walks:
            self._walks.extend(
                Walk(queue, lane)
                for queue in queues
                if queue.waiting
                for lane in queue.lanes
                if lane.soonest <= now
            )
        if self._walks:
            self._broker.again[self] = None

    def go_on(self, read: Read) -> None:
        """Look through some more."""
        looked = 0
        while self._walks and self._left > 0 and self._left_bytes > 0:
            if looked >= ONE_GO or (looked and self._broker.late):
                self._broker.again[self] = None
                return
            walk = self._walks[0]
            if walk.lane not in walk.queue.lanes:  # a temporary queue that is gone
                self._walks.popleft()
            elif not walk.begun:
                self._begin(walk)
                looked += 1
            elif walk.expired:
                looked += self._give_up(walk, ONE_GO - looked)
            elif walk.place < walk.last:
                steps = self._read_on(walk, min(ONE_GO - looked, self._left), read)
                if not steps:
                    self._broker.starving[self] = None  # the rest is on its way to the store
                    return
                looked += steps
            else:
                walk.lane.soonest = min(walk.lane.soonest, walk.soonest)
                self._walks.popleft()

    def _begin(self, walk: Walk) -> None:
        """Look through what is in memory. What is put or given back from now on is noted by the lane."""
        walk.begun = True
        lane = walk.lane
        lane.soonest = NEVER
        walk.expired = lane.expired(self._broker.now)
        walk.expired.reverse()
        if lane.behind:
            walk.place, walk.last = lane.edge, lane.last

    def _give_up(self, walk: Walk, count: int) -> int:
        """Give up the next of what has expired in memory; return how many steps that was."""
        some = walk.expired[-count:]
        del walk.expired[-count:]
        for message in reversed(some):
            if walk.lane.find(message.seq) is message:  # nobody has come for it meanwhile
                walk.queue.taken(walk.lane, message)
                self._broker.expire(walk.queue, message)
        return len(some)

    def _read_on(self, walk: Walk, count: int, read: Read) -> int:
        """Look through the next messages; return how many steps that was, 0 if they are not to be had yet."""
        broker, queue, lane = self._broker, walk.queue, walk.lane
        some, reach = lane.after(
            walk.place, count, queue.number, read, broker.suspect_before, broker.committed
        )
        steps = len(some) or int(reach > walk.place)
        self._left -= steps
        for message in some:
            self._left_bytes -= len(message.tail)
            if 0 < message.expires <= broker.now:
                queue.taken(lane, message)
                broker.choosing.add(queue)  # until it is no longer in the store
                broker.expire(queue, message)
            elif message.expires:
                walk.soonest = min(walk.soonest, message.expires)
        walk.place = reach
        return steps
