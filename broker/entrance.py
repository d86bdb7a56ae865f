"""Which virtual host a client comes to, and whether it may enter.

    CONNECT host:NAME ─▶ `Hosts.find` ─▶ the connection begins that host's turns from now on
                      ─▶ who is it? (a `Guard` finds out) ─▶ is it among the host's people?

Not here: how a login is checked, and what a configuration says of hosts (`broker.hosting`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from broker.errors import HandshakeError
from broker.hosting import listed
from broker.person import Person, people
from broker.reception import Answer, Claim, Guard, Host
from broker.turn import Turn


class Hosts:
    """The virtual hosts of a broker, by the names that clients say; host names know no capital letters."""

    def __init__(self, own: Host, named: Iterable[Host]) -> None:
        """`own` is the one without a name, where everybody comes who names none."""
        self.own = own
        self._named = {
            name.lower(): host
            for host in named
            for name in (host.options.virtual_host, *listed(host.options.names))
        }
        self._own_names = {"", *(name.lower() for name in listed(own.options.names))}
        self._refuses = own.options.unknown_host == "refuse"

    def find(self, name: str) -> Host:
        """Return the host that a client means. Raises `HandshakeError`."""
        called = name.strip().lower()
        found = self._named.get(called)
        if found is not None:
            return found
        if self._refuses and called not in self._own_names:
            raise HandshakeError(
                f"There is no virtual host {name}",
                "The header host of CONNECT names a virtual host of this broker, or is /.",
            )
        return self.own


class Entrance:
    """Lets one connection in, to the host that it names: a `Reception`."""

    def __init__(self, hosts: Hosts, guard: Guard, move: Callable[[Turn], None]) -> None:
        """`guard` finds out who somebody is; `move` is that of the connection's stream, see `broker.net.stream.Guest`."""
        self._hosts = hosts
        self._host = hosts.own  # until another is found
        self._guard = guard
        self._move = move

    def find(self, name: str) -> Host:
        """Go to the virtual host of a name, and return it. Raises `HandshakeError`."""
        self._host = self._hosts.find(name)
        self._move(self._host.turn)
        return self._host

    def let_in(self, claim: Claim, answer: Answer) -> None:
        """Ask who it is, and let in whom the host is for."""

        def answered(person: Person | HandshakeError) -> None:
            answer(person if isinstance(person, HandshakeError) else admit(person, self._host))

        self._guard.let_in(claim, self._in_its_turn(answered))

    def meet(self, peer: str, outcome: Person | HandshakeError, answer: Answer) -> None:
        """Another broker has come: it is a peer of the host, whoever else that is for."""
        self._guard.meet(peer, outcome, self._in_its_turn(answer))

    def _in_its_turn(self, answer: Answer) -> Answer:
        """Return what answers in a turn of the host: it may be much later, in one of somebody else's."""

        def begin(outcome: Person | HandshakeError) -> None:
            self._move(self._host.turn)
            answer(outcome)

        return begin


def admit(person: Person, host: Host) -> Person | HandshakeError:
    """Return somebody whom a host is for, or why he is not let in."""
    if person.is_among(people(host.options.people)):
        return person
    where = f"the virtual host {host.options.virtual_host}" if host.options.virtual_host else "here"
    return HandshakeError(
        f"User {person.login or 'anonymous'} is not authorized to enter {where}",
        "The operator says who is: the setting people.",
    )
