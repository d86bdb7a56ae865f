"""Who may do what with which destinations: the operator's sections `[rights."PATTERN"]`, and what follows from them.

1. Without a section everybody may do everything but administer.
2. With the first one all that nobody is named for is refused. All sections that match a destination apply; of two that
   say the same right the later one wins, as with `[destination]`.
3. Names that are the broker's own (`OWN`) are meant only by sections that name them: `>` grants no advisories.
4. What whoever may connect may do with a destination whose name he was told stands in `BY_NAME`, before all sections.
5. Administrators may do everything.

Knows destinations by their names, people by what lists call them. What is asked when, is in `broker.clearance`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from broker.core.names import (
    OWN_QUEUE,
    OWN_TOPIC,
    QUEUE,
    TEMP_QUEUE,
    TEMP_TOPIC,
    TOPIC,
    kind_of,
)
from broker.core.pattern import compile_pattern, is_within, overlap
from broker.person import EVERYBODY, GROUP, PEERS, Person, people
from broker.sections import RightsSection
from broker.setting import OptionsError

READ, WRITE, CREATE, BROWSE, ADMINISTER = "read", "write", "create", "browse", "administer"
ROAM = "roam"  # to read by a wildcard; it follows from READ and is never said

NOBODY: frozenset[str] = frozenset()
#: What begins names of the broker's own: advisories, statistics, the schedule and dead letters; its service; replies to
#: remote calls; reports between brokers.
OWN = ("ActiveMQ", "rpc.broker", "rpc.reply", "hoofbeat.reports")
KNOWN = 20_000  # destinations of which is remembered who may do what
LONGEST = 400  # characters of one that is remembered


def own_part(name: str) -> str:
    """Return with which of the broker's own names a name or pattern begins, "" if it is none of them."""
    return next((own for own in OWN if name == own or name.startswith(f"{own}.")), "")


class Section:
    """One section: what it means, and whom it names."""

    def __init__(self, kinds: str, pattern: str, rights: Mapping[str, str]) -> None:
        """`kinds` is a regular expression for what stands before names."""
        self.pattern = pattern
        self.people = {right: people(text) for right, text in rights.items()}
        self.is_own = bool(own_part(pattern))
        self._kinds = re.compile(kinds)
        self._matches = compile_pattern(pattern)

    def means(self, kind: str, name: str) -> bool:
        """Tell whether a destination is among those that are meant."""
        return (
            self._kinds.fullmatch(kind) is not None
            and self._matches(name)
            and (self.is_own or not own_part(name))
        )

    def overlaps(self, kind: str, pattern: str) -> bool:
        """Tell whether any of the destinations that a consumer's pattern means may be meant."""
        return (
            self._kinds.fullmatch(kind) is not None
            and overlap(self.pattern, pattern)
            and (self.is_own or not own_part(pattern))
        )

    def covers(self, kind: str, pattern: str) -> bool:
        """Tell whether all the destinations that a consumer's pattern means are meant."""
        return (
            self._kinds.fullmatch(kind) is not None
            and is_within(pattern, self.pattern)
            and (self.is_own or not any(overlap(f"{own}.>", pattern) for own in OWN))
        )


AWAY = "(/peer/[^/]+)*"
TEMPORARY = f"{AWAY}/remote-temp-(queue|topic)/"
ALL = {WRITE: EVERYBODY, CREATE: EVERYBODY}
#: Temporary destinations and queues for replies have names that nobody guesses, and whoever was told one is asked to
#: send there. What comes to the broker's own service is looked at method by method.
BY_NAME = [
    Section(TEMPORARY, ">", ALL),
    Section(f"{AWAY}/queue/", "rpc.reply.>", {READ: EVERYBODY, WRITE: EVERYBODY}),
    Section("/(queue|topic)/", "rpc.broker", {WRITE: EVERYBODY}),
    Section(f"{AWAY}/queue/", "hoofbeat.reports", {WRITE: GROUP + PEERS}),
]


class Granted(NamedTuple):
    """The people who may do something with one destination."""

    read: frozenset[str]
    write: frozenset[str]
    create: frozenset[str]
    browse: frozenset[str]
    administer: frozenset[str]
    roam: frozenset[str]


class Rights:
    """What everybody may do in one virtual host."""

    def __init__(
        self,
        sections: Sequence[RightsSection] = (),
        administrators: str = "",
        is_open: bool = True,
    ) -> None:
        """`sections` in the order of the file; `administrators`: people, as settings list them.

        `is_open`: nobody's login is checked. Raises `OptionsError` for sections that then mean nobody.
        """
        if is_open:
            check_people(sections)
        self.are_said = bool(sections)
        self._is_open = is_open
        self._sections = [read_section(*section) for section in sections]
        self._administrators = people(administrators)
        self._known: dict[str, Granted] = {}

    def become(self, other: Rights) -> None:
        """Let others hold from now on. Who was allowed before is not asked again: see `VirtualHost.prepare`."""
        self.are_said, self._is_open = other.are_said, other._is_open
        self._sections, self._administrators = other._sections, other._administrators
        self._known = {}

    def is_administrator(self, person: Person) -> bool:
        """Tell whether somebody may do everything. If nobody is known and nothing is said, everybody may."""
        return person.is_among(self._administrators) or (self._is_open and not self.are_said)

    def may(self, person: Person, right: str, destination: str) -> bool:
        """Tell whether somebody may do something with a destination, by the name that everybody has for it."""
        if not self.are_said and right != ADMINISTER:
            return True
        granted: frozenset[str] = getattr(self._granted(destination), right)
        return person.is_among(granted) or self.is_administrator(person)

    def may_read_some(self, person: Person, pattern: str) -> bool:
        """Tell whether somebody may read any of the destinations that a wildcard means, now or ever."""
        kind = kind_of(pattern)
        name = pattern.removeprefix(kind)
        return (
            not self.are_said
            or any(
                person.is_among(section.people.get(READ, NOBODY)) and section.overlaps(kind, name)
                for section in self._sections
            )
            or self.is_administrator(person)
        )

    def may_read_all(self, person: Person, pattern: str) -> bool:
        """Tell whether somebody may read every destination that a wildcard means, as far as sections say so."""
        if not self.are_said or self.is_administrator(person):
            return True
        kind, may = kind_of(pattern), False
        name = pattern.removeprefix(kind)
        for section in self._sections:
            if READ in section.people and section.overlaps(kind, name):
                is_named = person.is_among(section.people[READ])
                may = is_named and (may or section.covers(kind, name))
        return may

    def _granted(self, destination: str) -> Granted:
        granted = self._known.get(destination)
        if granted is None:
            granted = self._find(destination)
            if len(destination) <= LONGEST:
                if len(self._known) >= KNOWN:
                    self._known.clear()
                self._known[destination] = granted
        return granted

    def _find(self, destination: str) -> Granted:
        kind = kind_of(destination)
        name = destination.removeprefix(kind)
        said = said_of(self._sections, kind, name)
        told = said_of(BY_NAME, kind, name) | said
        read, write = told.get(READ, NOBODY), told.get(WRITE, NOBODY)
        roam = said.get(READ, NOBODY)
        return Granted(
            read,
            write,
            told.get(CREATE, read | write),
            said.get(BROWSE, roam),
            said.get(ADMINISTER, NOBODY),
            roam,
        )


def said_of(sections: Iterable[Section], kind: str, name: str) -> dict[str, frozenset[str]]:
    """Return the people that sections name for each right on one destination."""
    said: dict[str, frozenset[str]] = {}
    for section in sections:
        if section.means(kind, name):
            said |= section.people
    return said


def read_section(pattern: str, rights: Mapping[str, str]) -> Section:
    """Return what a section of the operator's means; its pattern was checked."""
    kind = kind_of(pattern)
    name = pattern.removeprefix(kind)
    for own, told in ((OWN_QUEUE, TEMP_QUEUE), (OWN_TOPIC, TEMP_TOPIC)):
        if kind.endswith(own):
            kind = kind.removesuffix(own) + told
    if kind:
        kinds = re.escape(kind).replace(r"/\*", "/[^/]+")
    elif name.startswith("/peer/"):  # and ends with `/>`: whatever is there
        kinds = re.escape(name.removesuffix(">")).replace(r"/\*", "/[^/]+") + ".*"
        name = ">"
    else:
        kinds = f"{QUEUE}|{TOPIC}"
    return Section(kinds, name, rights)


def check_people(sections: Iterable[RightsSection]) -> None:
    """Check the sections of a broker at which nobody's login is checked: they can tell nobody from others.

    Raises `OptionsError`.
    """
    for pattern, rights in sections:
        for right, text in rights.items():
            if not people(text) <= {EVERYBODY}:
                raise OptionsError(
                    f'[rights."{pattern}"]: {right} names {text}, but nobody\'s login is checked:'
                    f' say `users` or `auth`, or name "{EVERYBODY}"'
                )
