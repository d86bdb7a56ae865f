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
PEER_LOGIN = "peer:"  # and the name of another broker
ANONYMOUS, PEERS = "anonymous", "peers"  # groups, and the login, that are nobody's to choose
LONGEST = 255  # characters of a name
FORBIDDEN = frozenset(":,*")  # they mean something in lists, or in the users file


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


def another_broker(name: str) -> Person:
    """Return a peer, whose passcode was right."""
    return known(PEER_LOGIN + name, [PEERS])


def anonymous() -> Person:
    """Return somebody who was let in without a login."""
    return known(ANONYMOUS, [ANONYMOUS])


def is_name(name: str) -> bool:
    """Tell whether a user or group may be called so: visible characters and blanks between them, but for a few."""
    return (
        0 < len(name) <= LONGEST
        and name.isprintable()
        and name == name.strip()
        and FORBIDDEN.isdisjoint(name)
        and not name.startswith(("#", GROUP))
    )


def people(text: str) -> frozenset[str]:
    """Return the people that a setting lists."""
    return frozenset(filter(None, (each.strip() for each in text.split(","))))
