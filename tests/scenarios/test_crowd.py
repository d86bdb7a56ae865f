"""More connections than are good: those that do not log in keep nobody out, and no one is left without a word."""

from __future__ import annotations

import contextlib
import re
import resource
import selectors
import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.harness import DEADLINE, PASSCODE, BrokerProcess, Client, Closed, write_users
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import expect_error, is_served

CONNECT = b"CONNECT\naccept-version:1.2\nhost:h\npadding:"
OTHER = "127.0.0.2"  # another network address, and this machine all the same


@pytest.fixture
def many_files() -> Iterator[None]:
    """Allow this process some thousands of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(5000, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Visitor(Client):
    """A client that comes from another address."""

    def dial(self, port: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), DEADLINE, (OTHER, 0))


class Crowd:
    """Strangers who send an octet now and then, and never all of CONNECT."""

    def __init__(self, port: int, count: int) -> None:
        self.left = 0  # who were not hung up on
        self.heard: dict[socket.socket, bytes] = {}  # what those were told who were
        self._selector = selectors.EpollSelector()
        for _ in range(count):
            link = socket.create_connection(("127.0.0.1", port), DEADLINE)
            link.setblocking(False)
            self._selector.register(link, selectors.EVENT_READ)
            self.left += 1

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *error: object) -> None:
        for key in [*self._selector.get_map().values()]:
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def say(self, octet: bytes) -> None:
        """Each sends this."""
        for key in [*self._selector.get_map().values()]:
            with contextlib.suppress(OSError):
                key.fileobj.send(octet)  # type: ignore[union-attr]

    def look(self, timeout: float = 0.0) -> None:
        """Take notice of who was hung up on."""
        for key, _ in self._selector.select(timeout):
            link = key.fileobj
            assert isinstance(link, socket.socket)
            try:
                data = link.recv(1000)
            except ConnectionResetError:
                data = b""
            self.heard[link] = self.heard.get(link, b"") + data
            if not data:
                self._selector.unregister(link)
                link.close()
                self.left -= 1

    def await_left(self, most: int) -> None:
        """Wait until no more than so many are left."""
        end = time.monotonic() + DEADLINE
        while self.left > most:
            assert time.monotonic() < end, f"{self.left} are left"
            self.look(0.1)


@pytest.mark.usefixtures("many_files")
def test_slowloris(start_broker: StartBroker) -> None:
    """2,000 who send an octet a second are sent away when the time for CONNECT is over; others are served meanwhile.

    The time runs from the beginning, however often they send.
    """
    broker = start_broker("memory:", connect_timeout=4.0)
    with broker.connect() as friend, Crowd(broker.port, 2000) as crowd:
        began = time.monotonic()
        octets = iter(CONNECT)
        while time.monotonic() < began + 3:
            crowd.say(bytes([next(octets)]))
            with broker.connect() as same, Visitor(broker.port) as other:
                assert all(map(is_served, (friend, same, other)))
            crowd.look(0.3)
        crowd.await_left(0)
        assert is_served(friend)


@pytest.mark.usefixtures("many_files")
def test_slowloris_beyond_the_limit(start_broker: StartBroker, tmp_path: Path) -> None:
    """At the limit all stay; above it the crowd loses its oldest, who hears why. Whoever logs in is let in as ever."""
    broker = start_broker("memory:", max_waiting=50, connect_timeout=0.0)
    with broker.connect() as friend, Visitor(broker.port, None) as visitor:
        with Crowd(broker.port, 49) as crowd:
            assert is_served(friend)  # those before have been taken in
            crowd.look()
            assert crowd.left == 49
        with Crowd(broker.port, 500) as crowd:
            crowd.say(b"C")
            crowd.await_left(49)
            words = {heard for heard in crowd.heard.values() if heard}
            assert len(words) == 1
            assert b"Too many connections: 50 may wait to be let in" in words.pop()
            for _ in range(20):
                with broker.connect() as same, Visitor(broker.port) as other:
                    assert is_served(same)
                    assert is_served(other)
            assert is_served(friend)
            visitor.write(CONNECT + b"\n\n\0")  # he has waited longer than the crowd
            visitor.expect("CONNECTED")
    log = (tmp_path / "broker.log").read_text()
    # Not a line for each; a few if the first crowd left while the second came.
    assert 1 <= log.count("(max_waiting)") <= 4


def test_as_many_connections_as_there_may_be(start_broker: StartBroker, tmp_path: Path) -> None:
    """Who comes above the limit hears why and may come again; those who are there stay."""
    broker = start_broker("memory:", max_connections=10)
    clients = [broker.connect() for _ in range(10)]
    for _ in range(3):
        with Client(broker.port, None) as late:
            answer = expect_error(late.frame(), "Too many connections: 10 may be connected")
            assert answer.headers["retry"] == "true"
            assert "max_connections" in answer.body.decode()
            late.expect_closed()
    assert all(map(is_served, clients))
    for client in clients:
        client.close()
    clients = [connect_in_time(broker) for _ in range(10)]
    assert all(map(is_served, clients))
    for client in clients:
        client.close()
    log = (tmp_path / "broker.log").read_text()
    assert "10 connections may be connected (max_connections): 1 turned away" in log
    assert "there is room again" in log


def connect_in_time(broker: BrokerProcess) -> Client:
    """Return a client; the broker may have to notice first that others have gone."""
    end = time.monotonic() + DEADLINE
    while True:
        try:
            return broker.connect()
        except (AssertionError, Closed, ConnectionError):
            assert time.monotonic() < end


def test_without_descriptors(start_broker: StartBroker) -> None:
    """The system grants no more open files: those who are there are served, and others once there are some again."""
    broker = start_broker()
    friend = broker.connect()
    used = len([*Path(f"/proc/{broker.process.pid}/fd").iterdir()])
    resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE, (used + 10, used + 10))
    links = [socket.create_connection(("127.0.0.1", broker.port), DEADLINE) for _ in range(40)]
    for link in links[-10:]:
        link.settimeout(DEADLINE)
        with contextlib.suppress(ConnectionResetError):
            assert link.recv(100) == b""
    assert is_served(friend)
    assert friend.ask("SEND", b"x", destination="/queue/a").command == "RECEIPT"
    for link in links:
        link.close()
    late = connect_in_time(broker)
    assert is_served(late)
    assert is_served(friend)
    late.close()
    friend.close()


def test_a_crowd_that_logs_in_at_once(connect: Connect) -> None:
    """Web pages by the hundred from one address are no such crowd: each is let in."""
    strangers = [connect(None) for _ in range(200)]
    for stranger in strangers:
        stranger.write(CONNECT + b"\n\n\0")
    for stranger in strangers:
        stranger.expect("CONNECTED")


# Over HTTP


WEB: dict[str, object] = {"listener": [{"protocol": "http", "port": 0}]}


def post(link: socket.socket, size: int, body: bytes = b"", signed: bytes = b"") -> None:
    """Begin to put a message."""
    head = b"POST /queue/a HTTP/1.1\r\nHost: h\r\n%bContent-Length: %d\r\n\r\n"
    link.sendall(head % (signed, size) + body)


def dial_web(broker: BrokerProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", broker.ports["http"]), DEADLINE)


def test_slow_requests(start_broker: StartBroker) -> None:
    """Sockets whose requests are never complete are a crowd like any other; who puts a message is let in."""
    broker = start_broker("memory:", max_waiting=20, **WEB)
    with dial_web(broker) as friend:
        post(friend, 1, b"x")
        assert b" 201 " in friend.recv(1000)
        with Crowd(broker.ports["http"], 100) as crowd:
            crowd.say(b"P")
            crowd.await_left(20)
            words = {heard for heard in crowd.heard.values() if heard}
            assert len(words) == 1
            assert b"503 Service Unavailable" in words.pop()
            for _ in range(10):
                with dial_web(broker) as other:
                    post(other, 1, b"x")
                    assert b" 201 " in other.recv(1000)
        post(friend, 1, b"x")
        assert b" 201 " in friend.recv(1000)


def test_bodies_wait_for_each_other(start_broker: StartBroker) -> None:
    """Large bodies that are not complete take no more than they may together; one that stalls is given up."""
    broker = start_broker("memory:", max_arriving=1_000_000, frame_timeout=1.0, **WEB)
    size = 800_000
    links = [dial_web(broker) for _ in range(4)]
    for link in links:
        post(link, size, bytes(size - 10))
    small = dial_web(broker)
    post(small, 1, b"x")
    assert b" 201 " in small.recv(1000)
    for link in links[1:]:
        link.sendall(bytes(10))
    with contextlib.suppress(ConnectionResetError):
        assert links[0].recv(1000) == b""  # it came to a halt
    for link in links[1:]:
        assert b" 201 " in link.recv(1000)
    for link in [*links, small]:
        link.close()


def test_links_that_nobody_has_logged_in_on(start_broker: StartBroker) -> None:
    """A socket on which somebody has begun a link, and listens to it, waits as the link does."""
    broker = start_broker("memory:", max_waiting=20, **WEB)
    with contextlib.ExitStack() as stack:
        links = []
        for _ in range(11):  # of each the socket waits, and the link
            link = stack.enter_context(dial_web(broker))
            links.append(link)
            link.sendall(b"POST /link HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
            place = re.search(rb"(?i)location: (\S+)", link.recv(1000))
            assert place
            link.sendall(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % place[1])
        assert b"503 Service Unavailable" in links[0].recv(1000)
        with Client(broker.port) as client:
            assert is_served(client)


def test_bodies_of_who_is_kept_waiting(start_broker: StartBroker, tmp_path: Path) -> None:
    """Whoever guesses passcodes waits for his answer, and what he has sent counts among what has not arrived."""
    users = write_users(tmp_path, alice="")
    broker = start_broker("memory:", users=users, login_failures=1, max_arriving=200_000, **WEB)

    def sign(login: str) -> bytes:
        return b"Authorization: Basic " + b64encode(f"{login}:{PASSCODE}".encode()) + b"\r\n"

    size, right, wrong = 150_000, sign("alice"), sign("mallory")
    for signed, status in ((right, b" 201 "), (wrong, b" 401 "), (wrong, b" 401 ")):
        with dial_web(broker) as link:
            post(link, 1, b"x", signed)
            assert status in link.recv(1000)
    with dial_web(broker) as guest, dial_web(broker) as friend, selectors.EpollSelector() as both:
        post(guest, size, bytes(size), wrong)
        with dial_web(broker) as other:
            for _ in range(20):  # meanwhile all of the guest's is read
                post(other, 1, b"x", right)
                assert b" 201 " in other.recv(1000)
        post(friend, size, bytes(size), right)
        both.register(guest, selectors.EVENT_READ)
        both.register(friend, selectors.EVENT_READ)
        assert guest in [key.fileobj for key, _ in both.select(DEADLINE)]
        assert b" 401 " in guest.recv(1000)
        assert b" 201 " in friend.recv(1000)
