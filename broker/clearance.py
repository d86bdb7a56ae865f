"""What one client may do, asked before it does it: of `broker.rights`, with everything that an act leads to.

    SEND        to write, there and wherever an operator's composite leads from there; to create what is not there
    reply-to    to write or read there; where the broker itself answers, reports or gives back, to write
    SUBSCRIBE   to read, or browse; of a wildcard what may be read, if anything may
    a queue of a virtual topic's consumer: to read the topic, too

Its own temporary destinations are a client's to use as it likes. Refused is with ActiveMQ's words. Everything is asked
before anything is made, so that a refused frame leaves no trace.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from broker.core.names import (
    PEER,
    QUEUE,
    TOPIC,
    elements_of,
    means_others,
    split,
    virtual_topic_of,
)
from broker.core.pattern import is_pattern
from broker.errors import NotAuthorized
from broker.person import GROUP, PEER_LOGIN, PEERS, Person
from broker.qualified import qualified
from broker.rights import ADMINISTER, BROWSE, CREATE, READ, ROAM, WRITE, Rights

if TYPE_CHECKING:
    from broker.core.routes import Routes

#: ActiveMQ's words for the rights; it has no right to browse or administer.
WORDS = {
    READ: "read from",
    WRITE: "write to",
    CREATE: "create",
    BROWSE: "browse",
    ADMINISTER: "administer",
}


class Clearance:
    """What one client may do."""

    def __init__(
        self, rights: Rights, person: Person, routes: Routes, own: Container[str] = ()
    ) -> None:
        """`own` are the temporary destinations of the client, by everybody's names for them."""
        self.rights = rights
        self._person = person
        self._routes = routes
        self._own = own
        self._home = ""  # of another broker: where its clients are
        if GROUP + PEERS in person.names:
            self._home = f"{PEER}{person.login.removeprefix(PEER_LOGIN)}/"

    @property
    def is_administrator(self) -> bool:
        """True if it may do everything."""
        return self.rights.is_administrator(self._person)

    def may(self, right: str, destination: str) -> bool:
        """Tell whether it may do something with a destination."""
        if destination in self._own:
            return True
        if not self.rights.may(self._person, right, destination):
            return False
        return right not in (READ, BROWSE, ROAM) or self._may_read_topic_of(destination)

    def check(self, right: str, destination: str) -> None:
        """Raise `NotAuthorized` unless it may do something with a destination."""
        if not self.may(right, destination):
            raise self._refusal(right, destination)

    def _may_read_topic_of(self, destination: str) -> bool:
        """Tell whether it may read what comes to a queue from virtual topics, if it is such a queue."""
        if not destination.startswith(QUEUE):
            return True
        virtual = virtual_topic_of(destination.removeprefix(QUEUE))
        if not virtual:
            return True
        if is_pattern(virtual):
            return self.rights.may_read_all(self._person, TOPIC + virtual)
        return self.rights.may(self._person, READ, TOPIC + virtual)

    def _refusal(self, right: str, destination: str) -> NotAuthorized:
        told = destination if destination.startswith(PEER) else qualified(destination)
        return NotAuthorized(
            f"User {self._person.login or 'anonymous'} is not authorized to {WORDS[right]}: {told}",
            "The operator says who may, in the sections [rights] of the broker's settings.",
        )

    def check_roam(self, destination: str) -> None:
        """Raise `NotAuthorized` unless it may take from a destination that a wildcard means."""
        if not self.may(ROAM, destination):
            raise self._refusal(READ, destination)

    # SEND.

    def check_send(self, destination: str) -> None:
        """Raise `NotAuthorized` unless it may send to all that a text names."""
        for element in elements_of(destination):
            self.check_put(element)

    def check_put(self, destination: str) -> None:
        """Raise `NotAuthorized` unless it may send to one destination, as everybody knows it."""
        self.check(WRITE, destination)
        self._check_create(destination)
        for other in self._routes.beyond(destination):
            self.check(WRITE, other)

    def check_reply_to(self, reply_to: str, destination: str, by_broker: bool) -> None:
        """Raise `NotAuthorized` unless others may be asked to answer there.

        `destination` is where the question goes; `by_broker`: the broker itself may have to answer.
        """
        answers = self._routes.answers
        asked = elements_of(destination)
        everywhere = [*asked, *(other for each in asked for other in self._routes.beyond(each))]
        by_broker = by_broker or any(map(answers, everywhere))
        for element in elements_of(reply_to):
            if self._home and element.startswith(self._home):
                continue  # its own clients wait there, and it said what they may
            if by_broker:
                self.check_put(element)
            elif not self.may(READ, element):
                self.check(WRITE, element)

    def _check_create(self, destination: str) -> None:
        """Raise `NotAuthorized` if a destination would have to be made first and it may not do that."""
        if not self.rights.are_said or self._routes.is_there(destination):
            return
        self.check(CREATE, destination)
        if not self._may_read_topic_of(destination):  # the topic's messages would be kept there
            raise self._refusal(READ, destination)

    # SUBSCRIBE.

    def check_consume(self, destination: str, browse: bool = False) -> None:
        """Raise `NotAuthorized` unless it may take from one destination, or from some that a pattern means."""
        if not means_others(destination):
            self.check(BROWSE if browse else READ, destination)
            self._check_create(destination)
        elif not self.rights.may_read_some(self._person, destination):
            raise self._refusal(READ, destination)

    def check_durable(self, topic: str) -> None:
        """Raise `NotAuthorized` unless it may have all messages of a topic, or a pattern of some, kept for it."""
        if not is_pattern(split(topic)[1]):
            self.check_consume(topic)
        elif not self.rights.may_read_all(self._person, topic):
            raise self._refusal(READ, topic)
