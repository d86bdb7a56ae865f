"""Who takes from whatever a pattern means: from the queues, or topics, that are there, and from those to come.

A pattern can mean thousands of queues, and to join one takes its time: a few are joined at once and the others in goes,
so that nobody else waits. It also takes a kilobyte: while the machine is short of memory, of the others only those are
joined in which messages wait, for to take them makes room. Of a topic messages would be missed, so topics are joined at
once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from broker.core.lane import Read
from broker.core.queue import Queue
from broker.core.topic import Topic

if TYPE_CHECKING:
    from broker.core.broker import Broker

ONE_GO = 32  # joined before others get their turn

Made = TypeVar("Made", bound=Queue | Topic)


@dataclass(frozen=True, slots=True, eq=False)
class Roaming(Generic[Made]):
    """Somebody who takes from whatever a pattern means."""

    who: object
    matches: Callable[[str], bool]
    join: Callable[[Made], None]  # also what was joined before
    would_take: Callable[[Made], bool]  # tells whether it might be handed a message at once


class Roamers(Generic[Made]):
    """All who take from the queues, or topics, that a pattern means."""

    def __init__(self, broker: Broker, there: Mapping[str, Made], *, in_goes: bool) -> None:
        """`there` are those there are, by name. `in_goes`: many of them may be joined one after the other."""
        self._broker = broker
        self._there = there
        self._in_goes = in_goes
        self._all: dict[object, list[Roaming[Made]]] = {}
        self._left: deque[tuple[Roaming[Made], list[str]]] = deque()  # what is still to be joined
        self._put_off: dict[Roaming[Made], dict[str, None]] = {}  # the same, while memory is short

    def add(self, roaming: Roaming[Made]) -> None:
        """One more; it meets those that are there."""
        self._all.setdefault(roaming.who, []).append(roaming)
        self._meet_all(roaming)

    def look_again(self, who: object) -> None:
        """Somebody meets those that are there once more."""
        for roaming in self._all.get(who, ()):
            self._meet_all(roaming)

    def meet(self, made: Made) -> None:
        """There is a new one."""
        for some in [*self._all.values()]:
            for roaming in some:
                if roaming.matches(made.name):
                    self._join(roaming, [made.name])

    def remove(self, who: object) -> None:
        """Somebody takes no more."""
        self._all.pop(who, None)

    def are_about_to_join(self, made: Made) -> bool:
        """Tell whether somebody has still to join one."""
        waiting = [*(roaming for roaming, _ in self._left), *self._put_off]
        return any(roaming.matches(made.name) for roaming in waiting if roaming.who in self._all)

    def go_on(self, read: Read) -> None:
        """Join some more, each roamer in turn."""
        left = self._left
        while left:
            roaming, names = left.popleft()
            if roaming in self._all.get(roaming.who, ()):
                some = names[-ONE_GO:]
                del names[-ONE_GO:]
                self._go_on_later(roaming, names)
                self._join(roaming, some)
            if left and self._broker.late:
                self._broker.again[self] = None
                return

    def roam_on(self) -> None:
        """Look once more at what was put off: there is memory again, or somebody may take more messages."""
        put_off, self._put_off = self._put_off, {}
        for roaming, names in put_off.items():
            self._go_on_later(roaming, [*names])

    def _meet_all(self, roaming: Roaming[Made]) -> None:
        names = [*filter(roaming.matches, self._there)]
        at_once = names[-ONE_GO:] if self._in_goes else names
        for name in at_once:
            roaming.join(self._there[name])
        self._go_on_later(roaming, names[: -len(at_once)])

    def _go_on_later(self, roaming: Roaming[Made], names: list[str]) -> None:
        if names:
            self._left.append((roaming, names))
            self._broker.again[self] = None

    def _join(self, roaming: Roaming[Made], names: list[str]) -> None:
        """Join those that are there still; while memory is short those that cannot wait."""
        is_short = self._in_goes and self._broker.memory_is_short
        for name in names:
            made = self._there.get(name)
            if made is None:
                continue
            if is_short and not roaming.would_take(made):
                self._put_off.setdefault(roaming, {})[name] = None
            else:
                roaming.join(made)
