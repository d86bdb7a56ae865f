"""A shortage, of disk or of memory: the operator hears once that it begins and once that it is over.

It begins when something is refused, and is over only when there is clearly room again: at the mark itself room comes
and goes with every message. Knows no clock, and refuses nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable


class Shortage:
    """Whether there is one, of one thing."""

    def __init__(self, begins: str, is_over: str, enough: int, say: Callable[[str], None]) -> None:
        """`enough` bytes of room end it; `say` tells the operator the one text or the other."""
        self.there = False
        self._begins = begins
        self._is_over = is_over
        self._enough = enough
        self._say = say

    def begin(self) -> None:
        """Something was refused."""
        if not self.there:
            self.there = True
            self._say(self._begins)

    def look(self, room: int) -> None:
        """There is so much room now."""
        if self.there and room >= self._enough:
            self.there = False
            self._say(self._is_over)
