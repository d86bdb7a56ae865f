"""Which host a client comes to, and who may enter: with a login that takes its time, and no sockets."""

from __future__ import annotations

from functools import partial

import pytest

from broker.agenda import Agenda
from broker.connection import Connection
from broker.core.broker import Broker
from broker.entrance import Entrance, Hosts, admit
from broker.errors import HandshakeError
from broker.options import Options, read_options
from broker.person import Person, known, unchecked
from broker.reception import Answer, Claim, Host
from broker.store import StoreSettings
from broker.store.memory import MemoryStore
from broker.store.writer import InlineWriter
from broker.turn import Turn
from tests.outside import outside

OPTIONS = read_options("[virtual_host.shop]\nnames = 'Laden'\npeople = '@shop'", "hoof.toml")


def failed(error: BaseException) -> None:
    raise error


class Site:
    """A virtual host."""

    def __init__(self, options: Options) -> None:
        broker, store = Broker(outside()), MemoryStore(StoreSettings())
        self.agenda = Agenda(lambda when: None)
        self.turn = Turn(
            broker,
            store,
            lambda: InlineWriter(store, failed),
            self.agenda,
            2**20,
            0.0,
            lambda call: None,
            failed,
        )
        self.host = Host(broker, self.turn, options, b"m-", self.agenda)

    def begin(self, now: float = 0.0) -> None:
        self.turn.begin(now, now)


class Link:
    """What a stream does for its connection."""

    def __init__(self) -> None:
        self.said = b""
        self.over = False
        self._reads = True

    def reads(self) -> bool:
        return self._reads

    def write(self, data: bytes) -> None:
        self.said += data

    def close(self) -> None:
        self.over = True

    abort = close

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        self._reads = True

    def move(self, turn: Turn) -> None:
        turn.begin(0.0, 0.0)


class Guard:
    """Finds out who somebody is when the test says so."""

    def __init__(self) -> None:
        self.answer: Answer = failed  # type: ignore[assignment]

    def let_in(self, claim: Claim, answer: Answer) -> None:
        self.answer = answer

    def meet(self, peer: str, outcome: Person | HandshakeError, answer: Answer) -> None:
        self.answer = answer


class House:
    """A broker with two hosts, and one client that has named the second in its CONNECT."""

    def __init__(self) -> None:
        self.own, self.shop = Site(OPTIONS), Site(OPTIONS.hosts["shop"])
        self.guard, self.link = Guard(), Link()
        entrance = Entrance(
            Hosts(self.own.host, [self.shop.host]), self.guard, partial(Link.move, self.link)
        )
        self.own.begin()
        self.connection = Connection(self.own.host, "s", self.link, reception=entrance)
        connect = b"CONNECT\naccept-version:1.2\nhost:laden\nheart-beat:0,5000\n\n\0"
        self.connection.data(connect + b"SEND\ndestination:/queue/a\nreceipt:early\n\nx\0")
        self.own.turn.end()
        self.shop.turn.end()

    def answer(self, answer: Person | HandshakeError) -> None:
        """The guard knows, later, when only the broker's own host has a turn."""
        self.own.begin(1.0)
        self.guard.answer(answer)
        self.own.turn.end()
        if self.shop.turn.begun:  # else nobody would end it
            self.shop.turn.end()


@pytest.fixture
def house() -> House:
    return House()


def test_a_login_that_takes_its_time(house: House) -> None:
    """Nothing is said and nothing read before; then all is done at the host that was named."""
    assert house.link.said == b""
    assert not house.link.reads()
    house.answer(known("alice", ["shop"]))
    assert house.link.said.startswith(b"CONNECTED\n")
    assert b"RECEIPT\nreceipt-id:early\n" in house.link.said
    assert house.link.reads()
    assert [*house.shop.host.broker.routes.queues] == ["a"]
    assert [*house.own.host.broker.routes.queues] == []
    house.shop.begin(6.0)
    house.shop.agenda.run(6.0)
    assert house.link.said.endswith(b"\n\n")  # a heart-beat


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (HandshakeError("No such user"), b"message:No such user\n"),
        (unchecked("bob"), b"message:User bob is not authorized to enter the virtual host shop\n"),
        (known("bob", ["bank"]), b"message:User bob is not authorized to enter"),
    ],
)
def test_who_is_not_let_in_is_told(
    house: House, answer: Person | HandshakeError, text: bytes
) -> None:
    """In a turn of the host that was named; what he sent early is not done."""
    house.answer(answer)
    assert house.link.said.startswith(b"ERROR\n")
    assert text in house.link.said
    assert b"RECEIPT" not in house.link.said
    assert house.link.over
    assert [*house.shop.host.broker.routes.queues] == []


def test_the_time_for_connect_is_over_meanwhile(house: House) -> None:
    """The client has said its CONNECT in time: that the answer takes longer is not its fault."""
    house.own.begin(OPTIONS.connect_timeout)
    house.own.agenda.run(OPTIONS.connect_timeout)
    assert not house.link.over
    house.answer(known("alice", ["shop"]))
    assert house.link.said.startswith(b"CONNECTED")


@pytest.mark.parametrize(
    ("people", "person", "enters"),
    [
        ("*", unchecked(""), True),
        ("alice", unchecked("alice"), False),  # he says so, and nobody has checked it
        ("alice", known("alice"), True),
        ("bob, @shop", known("alice", ["shop"]), True),
        ("shop", known("alice", ["shop"]), False),
        ("", known("alice"), False),
    ],
)
def test_people(people: str, person: Person, enters: bool) -> None:
    host = Site(Options(people=people)).host
    assert (admit(person, host) is person) == enters


def test_a_name_is_of_one_host_only() -> None:
    """A virtual host may take a name that means the broker's own otherwise."""
    options = read_options("[virtual_host.localhost]", "hoof.toml")
    own, named = Site(options).host, Site(options.hosts["localhost"]).host
    hosts = Hosts(own, [named])
    assert hosts.find("LocalHost") is named
    assert hosts.find("/") is own
