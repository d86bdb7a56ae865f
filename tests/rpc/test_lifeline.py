"""When what is said over a connection leaves: a hand moves the loop on, and the writes are counted."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from functools import partial

import pytest

from broker.stomp import Frame, Parser
from rpc.address import Address, parse_address
from rpc.errors import ConnectionLost
from rpc.lifeline import MOST_HELD, Lifeline
from rpc.link import Link
from tests.processes import PATIENCE
from tests.rpc.canned import CONNECTED
from tests.rpc.faces import DIALLING, Face

ADDRESS: Address = parse_address("stomp://127.0.0.1:1")
RECEIPT = b"RECEIPT\nreceipt-id:1\n\n\0\n"


class Timer:
    """One that nobody lets run out."""

    def cancel(self) -> None:
        pass


class Host:
    """A loop that goes on when the test says so."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.due: list[Callable[[], None]] = []
        self.chance = random.random

    def now(self) -> float:
        return 0.0

    def wall(self) -> float:
        return 0.0

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        return Timer()

    def soon(self, call: Callable[[], None]) -> None:
        self.due.append(call)

    def dial(self) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def hang_up(self) -> None:
        pass

    def end_pass(self) -> None:
        due, self.due = self.due, []
        for call in due:
            call()


class Speaker:
    """Says what the test wants when it hears something."""

    def __init__(self) -> None:
        self.on_heard: Callable[[], object] = list

    def greeting(self, link: Link) -> bytes:
        return b"greeting"

    def begun(self) -> None:
        pass

    def heard(self, frames: list[Frame]) -> None:
        self.on_heard()

    def ended(self, error: ConnectionLost, was_open: bool, has_left: Callable[[int], bool]) -> bool:
        return False


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def speaker() -> Speaker:
    return Speaker()


@pytest.fixture
def lifeline(host: Host, speaker: Speaker) -> Lifeline:
    """Return one whose connection is open."""
    lifeline = Lifeline(host, speaker, ADDRESS, 0.0, 1.0)
    lifeline.connect()
    lifeline.opened()
    lifeline.received(CONNECTED)
    host.written.clear()
    return lifeline


def test_what_is_said_in_one_pass_leaves_together(host: Host, lifeline: Lifeline) -> None:
    lifeline.send(b"a")
    lifeline.send(b"b")
    assert host.written == []
    host.end_pass()
    assert host.written == [b"ab"]


def test_much_leaves_in_pieces_and_the_loop_is_asked_once(host: Host, lifeline: Lifeline) -> None:
    for _ in range(2 * MOST_HELD + 1):
        lifeline.send(b"a")
    assert host.written == [b"a" * MOST_HELD] * 2
    assert len(host.due) == 1
    host.end_pass()
    assert host.written == [b"a" * MOST_HELD] * 2 + [b"a"]


def test_an_answer_leaves_without_another_turn_of_the_loop(
    host: Host, speaker: Speaker, lifeline: Lifeline
) -> None:
    speaker.on_heard = lambda: (lifeline.send(b"a"), lifeline.send(b"b"))
    lifeline.received(RECEIPT)
    assert (host.written, host.due) == ([b"ab"], [])


def test_what_a_speaker_said_before_it_failed_leaves(
    host: Host, speaker: Speaker, lifeline: Lifeline
) -> None:
    def fail() -> None:
        lifeline.send(b"a")
        raise LookupError("a fault")

    speaker.on_heard = fail
    with pytest.raises(LookupError):
        lifeline.received(RECEIPT)
    assert host.written == [b"a"]
    lifeline.send(b"b")
    host.end_pass()
    assert host.written == [b"a", b"b"]


def test_those_whose_turn_is_next_are_waited_for(host: Host, lifeline: Lifeline) -> None:
    def say(data: bytes) -> None:
        lifeline.send(data)

    host.soon(partial(say, b"a"))
    lifeline.gather()
    host.soon(partial(say, b"b"))
    host.end_pass()
    assert host.written == [b"a"]
    host.end_pass()
    assert host.written == [b"a", b"b"]


def test_what_was_gathered_for_a_lost_connection_does_not_leave(
    host: Host, lifeline: Lifeline
) -> None:
    lifeline.send(b"a")
    lifeline.lost(ConnectionLost("gone", sent=True))
    host.end_pass()
    assert host.written == []
    lifeline.connect()
    lifeline.opened()
    lifeline.received(CONNECTED)
    host.written.clear()
    lifeline.send(b"b")
    host.end_pass()
    assert host.written == [b"b"]


@pytest.mark.parametrize("name", ["aio", "tx"])
def test_a_broker_that_reads_late_gets_all_in_order(name: str) -> None:
    """More than the kernel takes at once."""
    face: Callable[..., Face] = DIALLING[name]
    count, size = 40, 500_000
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        face(f"stomp://127.0.0.1:{listener.getsockname()[1]}", "late") as client,
    ):
        pending = [client.submit("echo", "x" * size, number) for number in range(count)]
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(PATIENCE)
            parser = Parser()
            parser.version = "1.2"
            frames: list[Frame] = []
            while not frames:
                frames += parser.feed(peer.recv(65536))
            peer.sendall(CONNECTED)
            while len(frames) < 2 + count:  # CONNECT and SUBSCRIBE come first
                data = peer.recv(1 << 20)
                assert data
                frames += parser.feed(data)
            sent = [frame for frame in frames if frame.command == "SEND"]
            assert [frame.body.rpartition(b'x",')[2].split(b"]")[0] for frame in sent] == [
                b"%d" % number for number in range(count)
            ]
            for number, frame in enumerate(sent):
                call_id = frame.headers["correlation-id"]
                body = f'{{"jsonrpc":"2.0","result":{number},"id":"{call_id}"}}'
                peer.sendall(f"MESSAGE\ncorrelation-id:{call_id}\n\n{body}\0\n".encode())
            assert [each.result(PATIENCE) for each in pending] == list(range(count))
