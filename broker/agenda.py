"""What is to happen when: one list of moments for the whole broker, one timer above it.

Time is an argument here (monotonic seconds). A check that comes due is called with the time and returns
its next moment, or None for never again. Activity does not move an entry: the check finds out that it
came too early and says when to come back, so that nothing is done per message.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

Check = Callable[[float], float | None]


class Agenda:
    """Checks in the order of their moments."""

    def __init__(self, wake_at: Callable[[float], None]) -> None:
        """`wake_at` arranges that `run` is called at that moment, instead of any arranged before."""
        self._wake_at = wake_at
        self._entries: list[tuple[float, int, Check]] = []
        self._number = count()
        self._next = float("inf")  # the moment that was arranged

    def add(self, when: float, check: Check) -> None:
        """Call `check` at `when`."""
        heapq.heappush(self._entries, (when, next(self._number), check))
        if when < self._next:
            self._next = when
            self._wake_at(when)

    def run(self, now: float) -> None:
        """Call what is due, and arrange the next time, also if a check raises.

        What is added meanwhile waits for the next time, also if it is due: a check that asks again and again
        for a moment that has passed would else never end.
        """
        entries = self._entries
        due = []
        while entries and entries[0][0] <= now:
            due.append(heapq.heappop(entries))
        due.reverse()
        try:
            while due:
                _, number, check = due.pop()
                again = check(now)
                if again is not None:
                    heapq.heappush(entries, (max(again, now + 0.001), number, check))
        finally:
            for entry in due:
                heapq.heappush(entries, entry)
            self._next = entries[0][0] if entries else float("inf")
            if entries:
                self._wake_at(self._next)
