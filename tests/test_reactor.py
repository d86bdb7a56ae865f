"""The reactor of `hoofbeat run`, without a broker: what is ready is read, then the pass ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from twisted.internet.protocol import Factory, Protocol

from broker.connection import Connection
from broker.net.reactor import StreamReactor
from broker.options import Options, change_options
from broker.service import make_service
from tests.harness import DEADLINE, Client


@pytest.fixture
def reactor() -> Iterator[StreamReactor]:
    """Return a reactor of the test's own. It ends by itself if the test does not end it."""
    reactor = StreamReactor()
    reactor.callLater(DEADLINE, reactor.stop)
    yield reactor
    reactor.disconnectAll()
    for call in reactor.getDelayedCalls():
        call.cancel()
    reactor.runUntilCurrent()


@pytest.fixture
def pairs() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    """Return a function that makes two sockets which are joined."""
    made: list[socket.socket] = []

    def pair() -> tuple[socket.socket, socket.socket]:
        made.extend(socket.socketpair())
        return made[-2], made[-1]

    yield pair
    for each in made:
        each.close()


Pairs = Callable[[], tuple[socket.socket, socket.socket]]


def run(reactor: StreamReactor) -> None:
    reactor.run(installSignalHandlers=False)


def test_a_pass_ends_when_all_that_was_ready_has_been_read(
    reactor: StreamReactor, pairs: Pairs
) -> None:
    heard: list[str] = []

    def reads(ours: socket.socket) -> Callable[[], None]:
        def read() -> None:
            heard.append(ours.recv(10).decode())
            reactor.at_end(end)

        return read

    def end() -> None:
        heard.append("end")
        if heard.count("end") == 2:
            reactor.stop()

    for word in (b"one", b"two"):
        ours, theirs = pairs()
        reactor.read_from(ours.fileno(), reads(ours))
        theirs.send(word)
    run(reactor)
    assert heard[2:] == ["end", "end"]
    assert sorted(heard[:2]) == ["one", "two"]


def test_an_end_may_ask_for_another(reactor: StreamReactor) -> None:
    """It comes with the next pass, which does not wait for anything."""
    said: list[int] = []

    def end() -> None:
        said.append(len(said))
        if len(said) == 3:
            reactor.stop()
        else:
            reactor.at_end(end)

    reactor.callWhenRunning(reactor.at_end, end)
    run(reactor)
    assert said == [0, 1, 2]


def test_an_end_that_fails_does_not_end_the_reactor(reactor: StreamReactor) -> None:
    def fails() -> None:
        reactor.callLater(0, reactor.stop)
        raise ValueError("a fault of ours")

    reactor.callWhenRunning(reactor.at_end, fails)
    run(reactor)
    assert not reactor.running


def test_who_left_is_not_called_any_more(reactor: StreamReactor, pairs: Pairs) -> None:
    """Not even in the pass in which its bytes came."""
    called: list[int] = []
    (one, at_one), (two, at_two) = pairs(), pairs()
    numbers = one.fileno(), two.fileno()

    def read(number: int) -> Callable[[], None]:
        def read() -> None:
            called.append(number)
            for each in numbers:
                reactor.leave(each)
            reactor.at_end(reactor.stop)

        return read

    for number in numbers:
        reactor.read_from(number, read(number))
    at_one.send(b"x")
    at_two.send(b"x")
    run(reactor)
    assert len(called) == 1


def test_a_descriptor_that_is_closed_may_leave(reactor: StreamReactor, pairs: Pairs) -> None:
    ours, _ = pairs()
    number = ours.fileno()
    reactor.read_from(number, lambda: None)
    ours.close()
    reactor.leave(number)


def test_what_twisted_does_goes_on(reactor: StreamReactor) -> None:
    """Its own sockets, timed calls, and calls from other threads."""
    heard: list[bytes] = []

    class Echo(Protocol):
        def dataReceived(self, data: bytes) -> None:  # noqa: N802
            heard.append(data)
            threading.Thread(target=reactor.callFromThread, args=(reactor.stop,)).start()

    factory = Factory.forProtocol(Echo)
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[no-untyped-call]
    with socket.create_connection(("127.0.0.1", port.getHost().port)) as client:
        reactor.callLater(0.01, client.send, b"hello")
        run(reactor)
    assert heard == [b"hello"]


def test_a_fault_of_ours_ends_one_connection(
    reactor: StreamReactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has met it is hung up on; the others do not notice."""
    understood = Connection.data

    def data(self: Connection, data: bytes) -> None:
        if b"dangerous" in data:
            raise ValueError("a fault of ours")
        understood(self, data)

    monkeypatch.setattr(Connection, "data", data)
    options = change_options(Options(), {"store": "memory:", "port": 0}, "test")
    service = make_service(options, reactor)
    port = int(service.listen()[0].rpartition(":")[2])
    heard: list[str] = []

    def clients() -> None:
        try:
            with Client(port) as one, Client(port) as other:
                one.send("SEND", b"dangerous", destination="/queue/a")
                one.expect_closed()
                heard.append(other.ask("SEND", b"x", destination="/queue/a").command)
        finally:
            reactor.callFromThread(reactor.stop)

    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.callWhenRunning(threading.Thread(target=clients).start)
    run(reactor)
    assert heard == ["RECEIPT"]


def test_a_broker_that_has_stopped_listens_no_more(reactor: StreamReactor) -> None:
    """Its ports are closed before the reactor ends, also when nobody was there to say goodbye to."""
    options = change_options(Options(), {"store": "memory:", "port": 0}, "test")
    service = make_service(options, reactor)
    port = int(service.listen()[0].rpartition(":")[2])
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.callWhenRunning(reactor.stop)
    run(reactor)
    socket.create_server(("127.0.0.1", port)).close()
