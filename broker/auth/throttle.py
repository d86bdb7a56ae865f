"""Whoever guesses passcodes has to wait, and so few others as can be.

1. An address that has failed so many times within a minute waits for each further answer, 1 second and then longer, to 5.
2. But not a login that has been right from there before: it has failures of its own. So a broken script does not slow
   down others of its machine or behind its router, and who guesses one login slows down that one.
3. Nobody is locked out, and nothing is remembered for ever: of the addresses that failed longest ago none is known.

Pure: time is an argument.
"""

from __future__ import annotations

from collections import OrderedDict, deque

WINDOW = 60.0  # seconds
SHORTEST, LONGEST = 1.0, 5.0  # seconds to wait
MOST = 4096  # addresses, and logins from them, that are remembered

#: An address, or a login from one, which may be long and is known by a number.
Key = tuple[str, int | None]


class Throttle:
    """Counts failures."""

    def __init__(self, most: int) -> None:
        """`most` failures within a minute are forgiven; 0: all."""
        self._most = most
        self._failures: OrderedDict[Key, deque[float]] = OrderedDict()  # when the last ones were
        self._right: OrderedDict[Key, None] = OrderedDict()  # logins that were

    def wait(self, address: str, login: str, now: float) -> float:
        """Return the seconds that an answer to this login is to wait."""
        if not self._most:
            return 0.0
        own = _own(address, login)
        over = self._count(own if own in self._right else (address, None), now) - self._most
        return 0.0 if over < 0 else min(LONGEST, SHORTEST + over)

    def failed(self, address: str, login: str, now: float) -> None:
        """A login was wrong."""
        for key in ((address, None), _own(address, login)):
            times = self._failures.setdefault(key, deque(maxlen=self._most + int(LONGEST)))
            times.append(now)
            self._failures.move_to_end(key)
        while len(self._failures) > MOST:
            self._failures.popitem(last=False)

    def succeeded(self, address: str, login: str) -> None:
        """A login was right."""
        own = _own(address, login)
        self._right[own] = None
        self._right.move_to_end(own)
        if len(self._right) > MOST:
            self._right.popitem(last=False)

    def _count(self, key: Key, now: float) -> int:
        times = self._failures.get(key, ())
        return sum(now - WINDOW < each for each in times)


def _own(address: str, login: str) -> Key:
    return address, hash(login)
