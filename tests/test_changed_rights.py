"""Rights that change while clients are connected, at a virtual host without sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.task import Clock

from broker.connection import Connection
from broker.errors import HandshakeError, StompError
from broker.options import Options, OptionsError
from broker.person import Person, known
from broker.reception import Answer, Claim, Host
from broker.stomp import Frame, Parser
from broker.virtualhost import Streams, VirtualHost

Sections = dict[str, dict[str, str]]


class Reactor(Clock):
    """Time that stands still. The store in memory has no thread."""

    def callFromThread(self, call: Callable[[], object]) -> None:  # noqa: N802
        raise AssertionError("there is no other thread")


class Believing:
    """Lets everybody in as whom he says he is, and knows him."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def find(self, name: str) -> Host:
        return self._host

    def let_in(self, claim: Claim, answer: Answer) -> None:
        answer(known(claim.login))

    def meet(self, peer: str, outcome: Person | HandshakeError, answer: Answer) -> None:
        answer(outcome)


class Client:
    """A client, and its transport."""

    def __init__(self, house: House, login: str) -> None:
        self._house = house
        self._parser = Parser()
        self._heard: list[Frame] = []
        self.is_over = False
        session = f"session-{len(house.clients)}"
        house.clients[session] = self
        host = house.host.host
        self.connection = Connection(host, session, self, reception=Believing(host))
        self.say("CONNECT", b"", version="1.0", login=login, **{"accept-version": "1.2"})
        [connected] = self.heard()
        assert connected.command == "CONNECTED"

    def say(self, command: str, body: bytes = b"", *, version: str = "1.2", **headers: str) -> None:
        """Say a frame, and let everything come of it."""
        data = Frame(command, headers, body).encode(version)
        self._house.do(lambda: self.connection.data(data))

    def heard(self) -> list[Frame]:
        """Return what was said to it since the last look."""
        heard, self._heard = self._heard, []
        return heard

    def send(self, destination: str, body: bytes = b"", **headers: str) -> None:
        self.say("SEND", body, destination=destination, **headers)

    def subscribe(self, destination: str, **headers: str) -> None:
        self.say("SUBSCRIBE", b"", destination=destination, **{"id": destination, **headers})

    def write(self, data: bytes) -> None:
        frames = self._parser.feed(data)
        if frames and frames[0].command == "CONNECTED":
            self._parser.version = "1.2"
            frames += self._parser.feed(b"")
        self._heard += frames

    def close(self) -> None:
        self.is_over = True

    def pause_reading(self) -> None:
        raise AssertionError("nothing here is slow")

    resume_reading = abort = pause_reading


class House:
    """A virtual host whose logins are believed."""

    def __init__(self, sections: Sections) -> None:
        self.reactor = Reactor()
        self.clients: dict[str, Client] = {}
        streams = Streams(dict, self._dismiss, lambda host, peer: None)
        self.host = VirtualHost(self.options(sections), self.reactor, streams)
        self.host.begin()

    def options(self, sections: Sections, **settings: Any) -> Options:
        """Return the settings with these rights."""
        return Options(store="memory:", users="known", rights=(*sections.items(),), **settings)

    def do(self, action: Callable[[], object]) -> None:
        """Do something in a turn, and all that comes of it."""
        self.host.begin()
        action()
        self.reactor.advance(0)
        self.reactor.advance(1)

    def change(self, sections: Sections, **settings: Any) -> None:
        """Let other rights hold."""
        self.do(self.host.prepare(self.options(sections, **settings)))

    def _dismiss(self, session: str, error: StompError) -> None:
        self.clients[session].connection.dismiss(error)


FREE: Sections = {">": {"read": "*", "write": "*"}}
NO_MORE: Sections = FREE | {"shop.>": {"read": "alice", "write": "alice"}}


@pytest.fixture
def house() -> House:
    """Return a host at which everybody may do everything."""
    return House(FREE)


def texts(client: Client) -> list[str]:
    """Return what a client has heard: the bodies of messages, and what errors say."""
    return [
        frame.headers["message"] if frame.command == "ERROR" else frame.body.decode()
        for frame in client.heard()
    ]


def test_a_producer_is_asked_anew(house: House) -> None:
    """What the broker remembers of its headers is void; and again when the right is given back."""
    mallory, alice = Client(house, "mallory"), Client(house, "alice")
    for _ in range(5):
        mallory.send("/queue/shop.a", b"1")
    house.change(NO_MORE)
    mallory.send("/queue/shop.a", b"2")
    said = "User mallory is not authorized to write to: queue://shop.a"
    assert texts(mallory) == [said]
    house.change(FREE)
    mallory.send("/queue/shop.a", b"3")
    alice.subscribe("/queue/shop.a")
    assert texts(alice) == ["1"] * 5 + ["3"]


@pytest.mark.parametrize(
    ("destination", "headers"),
    [
        ("/queue/shop.a", {}),
        ("/topic/shop.a", {}),
        ("/queue/b,/queue/shop.a", {}),
        ("/queue/>", {}),
        ("/topic/>,/queue/b", {}),
        ("/topic/shop.a", {"durable": "true"}),
        ("/topic/shop.>", {"durable": "true"}),
        ("/queue/Consumer.M.VirtualTopic.a", {}),
        ("/queue/Consumer.M.>", {}),
    ],
)
def test_a_consumer_that_may_no_more_is_told_and_disconnected(
    house: House, destination: str, headers: dict[str, str]
) -> None:
    alice, mallory = Client(house, "alice"), Client(house, "mallory")
    for place in ("/queue/shop.a", "/topic/shop.a", "/queue/Consumer.M.VirtualTopic.a"):
        alice.send(place)  # they are there
    mallory.subscribe(destination, **headers)
    alice.subscribe(destination, **headers)
    alice.heard(), mallory.heard()
    house.change(NO_MORE | {"/topic/VirtualTopic.>": {"read": "alice"}})
    [error] = texts(mallory)
    assert error.startswith("User mallory is not authorized to read from: ")
    assert mallory.is_over
    assert not alice.is_over
    alice.heard()
    alice.send("/queue/shop.a", b"1")
    assert texts(mallory) == []


def test_others_go_on(house: House) -> None:
    mallory = Client(house, "mallory")
    for destination in ("/queue/a", "/topic/a.>", "/temp-queue/mine"):
        mallory.subscribe(destination)
    house.change(NO_MORE)
    for destination in ("/queue/a", "/topic/a.b", "/temp-queue/mine"):
        mallory.send(destination, destination.encode())
    assert texts(mallory) == ["/queue/a", "/topic/a.b", "/temp-queue/mine"]
    assert not mallory.is_over


def test_a_wildcard_meets_what_may_be_read_now() -> None:
    house = House(NO_MORE)
    mallory, alice = Client(house, "mallory"), Client(house, "alice")
    mallory.subscribe("/queue/>")
    mallory.subscribe("/topic/>")
    mallory.say("SUBSCRIBE", destination="/topic/a.>", id="d", durable="true")
    for kind in ("queue", "topic"):
        alice.send(f"/{kind}/shop.a", kind.encode())
    assert texts(mallory) == []
    house.change(FREE)
    alice.send("/topic/shop.a", b"later")
    alice.send("/topic/a.b", b"once")
    assert sorted(texts(mallory)) == ["later", "once", "once", "queue"]


def test_commit_asks_once_more(house: House) -> None:
    """It is refused, and the transaction stays open: to be aborted, or committed once it is allowed."""
    mallory, alice = Client(house, "mallory"), Client(house, "alice")
    mallory.say("BEGIN", transaction="t")
    mallory.send("/queue/b", b"0", transaction="t")
    mallory.send("/queue/shop.a", b"1", transaction="t")
    house.change(NO_MORE)
    alice.subscribe("/queue/shop.a")
    alice.subscribe("/queue/b")
    mallory.say("COMMIT", transaction="t")
    assert texts(mallory) == ["User mallory is not authorized to write to: queue://shop.a"]
    assert texts(alice) == []
    house.change(FREE)
    mallory.say("COMMIT", transaction="t")
    assert (texts(mallory), texts(alice)) == ([], ["0", "1"])


def test_the_first_section_is_heard_by_those_who_are_there() -> None:
    """Also by transactions that were begun when nobody asked anything."""
    house = House({})
    mallory = Client(house, "mallory")
    mallory.say("BEGIN", transaction="t")
    mallory.send("/queue/shop.a", b"1", transaction="t")
    house.change({"b": {"read": "*"}})
    mallory.say("COMMIT", transaction="t")
    assert texts(mallory) == ["User mallory is not authorized to write to: queue://shop.a"]


def test_administrators_change_too(house: House) -> None:
    mallory = Client(house, "mallory")
    house.change(NO_MORE, administrators="mallory")
    mallory.send("/queue/shop.a")
    assert texts(mallory) == []


def test_what_makes_no_sense_changes_nothing(house: House) -> None:
    mallory = Client(house, "mallory")
    open_to_all = Options(store="memory:", rights=(("shop.>", {"read": "alice"}),))
    with pytest.raises(OptionsError, match="nobody's login is checked"):
        house.host.prepare(open_to_all)
    mallory.send("/queue/shop.a")
    assert texts(mallory) == []
