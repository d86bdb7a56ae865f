"""Looking at a queue without taking anything: every message that waits, in order, then the end.

A browser goes from place to place like a consumer who chooses, at a pace of its own and through the store as
far as the backlog reaches, with nothing kept in memory. It sees what waited when it came and still does when
it gets there; what comes later, or is in a consumer's hands, it does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.core.lane import Read
from broker.core.message import Message
from broker.core.subscription import AUTO, Deliver, Subscription, Wants

if TYPE_CHECKING:
    from broker.core.queue import Queue

ONE_GO = 1000  # messages looked at before others get their turn
BYTES = 4 * 1024 * 1024  # of them
FEW = 50  # messages read at once
FEW_BYTES = 256 * 1024  # of them


class Browser(Subscription):
    """A consumer that takes nothing."""

    __slots__ = ("_home", "_newest", "_place", "_priority", "_say_end")

    def __init__(
        self, queue: Queue, deliver: Deliver, say_end: Callable[[], None], wants: Wants | None
    ) -> None:
        """`say_end` is called once, after the last message."""
        super().__init__(queue, AUTO, 0, deliver, wants)
        self._home = queue
        self._say_end = say_end
        self._priority = 9  # of the lane that is being shown
        self._place = -1  # seq up to which the present one was shown
        self._newest = queue.broker.next_seq - 1  # what is newer was not there when it came

    def start(self) -> None:
        """Begin."""
        self._home.broker.again[self] = None

    def resume(self) -> None:
        """The connection can take more again."""
        self.paused = False
        self.start()

    def pause(self) -> None:
        """Show no more for now."""
        self.paused = True

    def stop(self) -> None:
        """End."""
        self.closed = True

    def go_on(self, read: Read) -> None:
        """Show the next messages."""
        queue, broker = self._home, self._home.broker
        looked = size = 0
        while self.hungry:
            lane = next((each for each in queue.lanes if each.priority <= self._priority), None)
            if lane is None:
                self.closed = True
                self._say_end()
                return
            self._priority = lane.priority  # whatever lanes come later
            if looked and (looked >= ONE_GO or size >= BYTES or broker.late):
                self.start()
                return
            some, reach = lane.after(
                self._place,
                FEW,
                queue.number,
                read,
                broker.suspect_before,
                broker.committed,
                FEW_BYTES,
            )
            end = min(lane.last, self._newest)
            if not some and reach == self._place < end:
                broker.starving[self] = None  # the rest is on its way to the store
                return
            looked += len(some) or FEW
            for message in some:
                if message.seq > end:
                    break
                size += len(message.tail)
                self._show(message)
            self._place = reach
            if reach >= end:
                self._priority, self._place = lane.priority - 1, -1

    def _show(self, message: Message) -> None:
        expired = message.expires and message.expires <= self._home.broker.now
        if not expired and (self.wants is None or self.wants(message)):
            self.deliver(message)
