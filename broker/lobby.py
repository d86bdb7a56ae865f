"""Who is connected, and who of them has not been let in yet: so that whoever does not log in keeps nobody out.

Two limits, and one rule for both. When more wait than may, or more are connected than may, one of those who wait is
turned away: the one that has waited longest, of the network address from which most wait. So a crowd that comes from
somewhere and says nothing pushes out itself; somebody else, and whoever logs in at once, is let in as ever, also
from the same address. If nobody else waits it is the newcomer.

Knows no sockets, no STOMP beyond the ERROR, and no clock.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.errors import Full
from broker.neighbourhood import neighbourhood

#: Descriptors that are not for clients: the store, the log, links, and what Twisted opens.
SPARE = 100
SILENCE = 60.0  # seconds between two lines of the log
CALM = 0.9  # of a limit: below it the crowd is over
POLITE = 50  # who are turned away and get the time to hear why; the others are cut off, after the same words

#: Tells somebody to go, and whether he gets time for it.
TurnAway = Callable[[Full, bool], None]


class Lobby:
    """Everybody who is connected."""

    def __init__(self, most: int, most_waiting: int, say: Callable[[str], None]) -> None:
        """`most` may be connected, of whom `most_waiting` are not let in yet; `say` tells the operator."""
        self._most = most
        self._most_waiting = most_waiting
        self._say = say
        self._there: dict[object, str] = {}  # who is connected → from where, "" once let in
        #: Those who wait: from where → who, in the order they came → how it is told to go.
        self._waiting: dict[str, dict[object, TurnAway]] = {}
        self._leaving: set[object] = set()  # who were turned away and have not left
        self._count = 0  # who wait
        self._turned_away = 0  # since the operator was told
        self._told = float("-inf")  # when that was
        self._crowded = False

    def __len__(self) -> int:
        return len(self._there) - len(self._leaving)

    @property
    def waiting(self) -> int:
        """How many are not let in yet."""
        return self._count

    def come(self, who: object, address: str, turn_away: TurnAway, now: float) -> None:
        """Somebody has connected. `address` is HOST:PORT; `turn_away` is called if it must go, perhaps at once."""
        place = neighbourhood(address)
        self._there[who] = place
        self._waiting.setdefault(place, {})[who] = turn_away
        self._count += 1
        if len(self) > self._most:
            self._make_room("max_connections", self._most, "may be connected", now)
        elif self._count > self._most_waiting:
            self._make_room("max_waiting", self._most_waiting, "may wait to be let in", now)

    def let_in(self, who: object) -> None:
        """Somebody has logged in."""
        place = self._there.get(who, "")
        if place:
            self._there[who] = ""
            self._forget(who, place)

    def has_let_in(self, who: object) -> bool:
        """Tell whether somebody who is connected has logged in."""
        return self._there.get(who) == "" and who not in self._leaving

    def leave(self, who: object) -> None:
        """Somebody has gone."""
        place = self._there.pop(who, "")
        self._leaving.discard(who)
        if place:
            self._forget(who, place)
        if self._crowded and (
            len(self) < CALM * self._most and self._count < CALM * self._most_waiting
        ):
            self._crowded = False
            self._say(
                f"there is room again: {len(self)} connections, {self._count} of them not let in yet"
            )

    def _make_room(self, setting: str, most: int, what: str, now: float) -> None:
        """Turn somebody away."""
        crowd = max(self._waiting.values(), key=len)
        who, turn_away = next(iter(crowd.items()))
        place, self._there[who] = self._there[who], ""
        self._forget(who, place)
        self._turned_away += 1
        if not self._crowded or now >= self._told + SILENCE:
            self._say(
                f"{most} connections {what} ({setting}): {self._turned_away} turned away, the last from {place}"
            )
            self._crowded, self._told, self._turned_away = True, now, 0
        is_polite = len(self._leaving) < POLITE
        self._leaving.add(who)
        turn_away(
            Full(
                f"Too many connections: {most} {what}",
                f"Log in at once, close what is not used, come again later; or raise {setting}.",
            ),
            is_polite,
        )

    def _forget(self, who: object, place: str) -> None:
        crowd = self._waiting[place]
        del crowd[who]
        if not crowd:
            del self._waiting[place]
        self._count -= 1


def most_connections(asked: int, descriptors: int) -> int:
    """Return how many may be connected when so many are `asked` for, and the system grants so many `descriptors`."""
    return max(1, min(asked, descriptors - SPARE))
