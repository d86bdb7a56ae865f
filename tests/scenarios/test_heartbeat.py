"""Heart-beats both ways. Intervals are small; a busy machine may stretch them, never shorten them."""

from __future__ import annotations

import itertools
import time

import pytest

from tests.conftest import StartBroker
from tests.harness import BrokerProcess, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import (
    accepted,
    is_served,
    let_pass,
    put,
    read_octets,
    subscribe,
)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("0,0", "0,0"),
        ("0,5000", "5000,0"),
        ("7000,0", "0,7000"),
        ("3000,5000", "5000,3000"),
        ("1,1", "100,100"),
        (" 200 , 300 ", "300,200"),
        ("9999999999,0", "0,9999999999"),
    ],
)
def test_what_is_agreed(connect: Connect, later_version: str, asked: str, answered: str) -> None:
    """The broker promises what the client wants and wants what it can, down to a tenth of a second."""
    assert connect(later_version, heart_beat=asked).connected.headers["heart-beat"] == answered


def test_none_without_the_header(connect: Connect, later_version: str) -> None:
    """Who does not ask gets none and owes none."""
    assert connect(later_version).connected.headers["heart-beat"] == "0,0"


def test_the_broker_beats_in_time(connect: Connect, later_version: str) -> None:
    """An idle link carries a lone LF at least every interval, and not much more often."""
    client = connect(later_version, heart_beat="0,300")
    moments = [time.monotonic()]
    for _ in range(4):
        assert read_octets(client) == b"\n"
        moments.append(time.monotonic())
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert min(gaps) <= 0.3
    assert moments[-1] - moments[0] >= 4 * 0.3 * 0.8


def test_frames_count_as_heart_beats(connect: Connect, queue: str) -> None:
    """While messages flow there is no need for LFs between them."""
    client = connect("1.2", heart_beat="0,500")
    subscribe(client, queue)
    client.received = b""
    begun = time.monotonic()
    count = 0
    while time.monotonic() - begun < 0.3:
        client.send("SEND", destination=queue)
        client.expect("MESSAGE")
        count += 1
    assert count
    assert b"\0\n\n" not in client.received


def test_a_silent_client_is_given_up(connect: Connect, queue: str) -> None:
    """Who promised heart-beats and falls silent loses his link, and what he held goes to others.

    The grace is twice the interval, and never less than a second more than it.
    """
    put(connect(), queue, b"work")
    begun = time.monotonic()
    silent = connect("1.2", heart_beat="200,0")
    subscribe(silent, queue, ack="client")
    silent.expect("MESSAGE")
    other = connect()
    subscribe(other, queue)
    message = other.expect("MESSAGE", redelivered="true")
    assert message.body == b"work"
    assert time.monotonic() - begun >= 1.2
    silent.expect_closed()


def test_any_octet_is_a_sign_of_life(connect: Connect, queue: str) -> None:
    """A client busy with one long upload is alive, LF or not; so is one that sends only LFs."""
    uploading = connect("1.2", heart_beat="100,100")
    beating = connect("1.2", heart_beat="100,100")
    beating.write(b"\n")
    uploading.write(b"SEND\ndestination:%b\nreceipt:r\n\n" % queue.encode())
    begun = time.monotonic()
    while time.monotonic() - begun < 1.6:  # grace would have ended after 1.1
        assert set(read_octets(uploading)) == {10}
        uploading.write(b"x")
        beating.write(b"\r\n")
    uploading.write(b"\0")
    uploading.expect("RECEIPT", receipt_id="r")
    assert is_served(beating)


def test_who_promised_nothing_may_be_silent(server: BrokerProcess, connect: Connect) -> None:
    """`0,0` and `0,y` clients are kept however long they are silent.

    So are those of 1.0, whatever they wrote into CONNECT; they are sent no LFs either.
    """
    quiet, listening = connect("1.2"), connect("1.2", heart_beat="0,100")
    old = connect("1.0", heart_beat="100,100")
    assert old.connected.headers["heart-beat"] == "0,0"
    odd = connect("1.0", heart_beat="nonsense")
    let_pass(server, 1.5)
    for client in (old, odd):
        client.received = b""
        assert is_served(client)
        assert client.received.startswith(b"RECEIPT")
    assert is_served(quiet)
    assert is_served(listening)


def test_a_client_that_is_not_read_is_not_missed(
    start_broker: StartBroker, connect: Connect
) -> None:
    """While the broker has stopped reading from a client it does not count missed heart-beats."""
    broker = start_broker("memory:", unsent_bytes=50_000, stalled_bytes=200_000)
    client = connect("1.2", to=broker, heart_beat="100,0")
    begun = time.monotonic()
    asked = flood(client)
    let_pass(broker, max(0.1, 1.6 - (time.monotonic() - begun)))
    client.socket.setblocking(True)
    for number in range(asked):
        client.expect("RECEIPT", receipt_id=f"{number:0>200}")


def flood(client: Client) -> int:
    """Ask without reading the answers until nothing more can be written; return how many were asked."""
    client.socket.setblocking(False)
    number = 0
    try:
        while True:
            frame = b"SEND\ndestination:/topic/t\nreceipt:%b\n\n\0" % f"{number:0>200}".encode()
            client.socket.settimeout(0.5)
            client.socket.sendall(frame)
            number += 1
    except TimeoutError:
        return number


def test_heart_beats_do_not_disturb_the_stream(connect: Connect, queue: str) -> None:
    """LFs stand between frames only, also while large messages are on their way."""
    client = connect("1.2", heart_beat="100,100")
    subscribe(client, queue)
    sender = connect()
    for size in (1, 3_000_000, 10):
        accepted(sender.ask("SEND", b"x" * size, destination=queue))
        client.write(b"\n")
        assert len(client.expect("MESSAGE").body) == size
