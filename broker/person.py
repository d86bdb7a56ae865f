"""Who somebody is, once the door has let him in, and how settings name people.

A list of people in a setting reads `"alice, @shops, *"`: logins, groups with `@`, and `*` for everybody who may
connect. Nobody who has logged in is called `anonymous`, another broker `peer:NAME`, of the group `@peers`.

Not here: how a login is checked, and what somebody may do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

EVERYBODY = "*"
GROUP = "@"


class Person(NamedTuple):
    """Somebody who was let in."""

    login: str
    #: What lists may call him: his login if it was checked, his groups, `*`.
    names: frozenset[str]

    def is_among(self, people: frozenset[str]) -> bool:
        """Tell whether a list of people means him."""
        return not self.names.isdisjoint(people)


#: Who sends what nobody has just sent: the schedule, for one.
NOBODY = Person("", frozenset())


def known(login: str, groups: Iterable[str] = ()) -> Person:
    """Return somebody whose login was checked. `groups` are written without `@`."""
    return Person(login, frozenset((login, EVERYBODY, *(GROUP + group for group in groups))))


def unchecked(login: str) -> Person:
    """Return somebody who says a login that nobody has checked: he is one of everybody, and no more."""
    return Person(login, frozenset((EVERYBODY,)))


def people(text: str) -> frozenset[str]:
    """Return the people that a setting lists."""
    return frozenset(filter(None, (each.strip() for each in text.split(","))))
