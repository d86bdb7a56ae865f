"""Clients that are too fast, too slow or too large: each waits, or goes, and others do not notice."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.arriving import LARGE
from broker.stomp import Frame
from tests.certificates import Authority
from tests.conftest import StartBroker
from tests.harness import DEADLINE, BrokerProcess, Client
from tests.scenarios.conftest import Connect
from tests.scenarios.steps import accepted, expect_error, is_served, put, subscribe, take

MB = 1_000_000
SIZE = 6 * LARGE


def large(name: str) -> bytes:
    """Return a SEND with a large body."""
    return Frame("SEND", {"destination": "/queue/a", "receipt": name}, bytes(SIZE)).encode("1.2")


# Large frames


def test_large_frames_wait_for_each_other(start_broker: StartBroker, connect: Connect) -> None:
    """The first one goes on, the others one after the other; whoever sends small ones does not notice."""
    broker = start_broker("memory:", max_arriving=2 * SIZE)
    other = connect(to=broker)
    clients = [connect(to=broker, heart_beat="0,100") for _ in range(6)]
    for number, client in enumerate(clients):
        client.write(large(str(number))[: -LARGE - 100])
    assert is_served(other)
    for number, client in reversed([*enumerate(clients)]):  # the last ones wait for the first ones
        threading.Thread(target=client.write, args=(large(str(number))[-LARGE - 100 :],)).start()
    for number, client in enumerate(clients):
        client.expect("RECEIPT", receipt_id=str(number))
        assert is_served(other)
    assert all(map(is_served, clients))


def test_memory_of_large_frames_is_bounded(start_broker: StartBroker, connect: Connect) -> None:
    """Fifty frames of 10 MB, none complete: what is not read stays with their senders."""
    broker = start_broker("memory:", max_arriving=20 * MB)
    other = connect(to=broker)
    assert is_served(other)
    before = broker.memory()
    clients = [connect(to=broker) for _ in range(50)]
    head = b"SEND\ndestination:/queue/a\ncontent-length:%d\n\n" % (10 * MB)
    for client in clients:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)
        client.socket.settimeout(0.05)
        try:
            client.socket.sendall(head + bytes(5 * MB))
        except TimeoutError:
            continue
    assert is_served(other)
    assert broker.memory() - before < 60 * MB
    for client in clients[:-1]:
        client.close()
    clients[-1].close()
    put(other, "/queue/a", bytes(5 * MB))


def test_a_large_frame_that_hardly_grows(start_broker: StartBroker, connect: Connect) -> None:
    """It is given up with a word; one that grows, and a small one that does not, are waited for."""
    broker = start_broker("memory:", frame_timeout=1.0)
    stalled, small, growing = (connect(to=broker) for _ in range(3))
    stalled.write(large("1")[: LARGE + 1000])
    small.write(large("2")[: LARGE - 1000])
    growing.write(large("3")[: LARGE + 1000])
    growing.write(large("3")[LARGE + 1000 : 3 * LARGE])
    expect_error(stalled.frame(), "The frame comes too slowly")
    stalled.expect_closed()
    small.write(large("2")[LARGE - 1000 :])
    small.expect("RECEIPT", receipt_id="2")
    growing.write(large("3")[3 * LARGE :])
    growing.expect("RECEIPT", receipt_id="3")
    growing.write(large("4"))
    growing.expect("RECEIPT", receipt_id="4")


def test_one_octet_at_a_time(start_broker: StartBroker, connect: Connect) -> None:
    """An octet now and then is not enough for a large frame, though it is a sign of life."""
    broker = start_broker("memory:", frame_timeout=1.0)
    client = connect(to=broker, heart_beat="100,0")
    client.write(large("1")[: LARGE + 1000])
    client.socket.settimeout(0.1)
    end = time.monotonic() + DEADLINE
    heard = b""
    while b"too slowly" not in heard:
        assert time.monotonic() < end
        try:
            client.write(b"x")
            heard += client.socket.recv(1000)
        except TimeoutError:
            continue


# Clients that take nothing


@pytest.mark.parametrize("is_secure", [False, True])
def test_a_stuck_consumer(
    start_broker: StartBroker, connect: Connect, tmp_path: Path, is_secure: bool
) -> None:
    """It takes nothing: it is handed no more, then it is given up, and others get what it held."""
    certificate, key = Authority(tmp_path).issue()
    secure = {"port": 0, "tls_certificate": certificate, "tls_key": key}
    broker = start_broker("memory:", stuck_timeout=2.0, unsent_bytes=100_000, listener=[secure])
    sender = connect(to=broker)
    with SmallClient(broker, is_secure) as stuck:
        stuck.send("SUBSCRIBE", destination="/queue/a", id="s", ack="client")
        bodies = [b"%d" % number + bytes(300_000) for number in range(40)]
        put(sender, "/queue/a", *bodies)
        other = connect(to=broker)
        subscribe(other, "/queue/a", ack="client")
        got = {message.body: message.headers.get("redelivered") for message in take(other, 40)}
    assert got.keys() == set(bodies)
    assert got[bodies[0]] == "true"
    assert None in got.values()  # not all were handed to the one that was stuck


class SmallClient(Client):
    """A client whose kernel takes little on its behalf."""

    def __init__(self, broker: BrokerProcess, is_secure: bool) -> None:
        self._is_secure = is_secure
        super().__init__(broker.ports["stomp+ssl"] if is_secure else broker.port)

    def dial(self, port: int) -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.settimeout(DEADLINE)
        made.connect(("127.0.0.1", port))
        if self._is_secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context.wrap_socket(made)
        return made


def test_a_slow_consumer_is_not_stuck(start_broker: StartBroker, connect: Connect) -> None:
    """It takes its time, and longer than the timeout for all of it: nobody gives it up."""
    broker = start_broker("memory:", stuck_timeout=3.0, unsent_bytes=100_000)
    slow, clock = connect(to=broker), connect(to=broker, heart_beat="0,300")
    slow.send("SUBSCRIBE", destination="/queue/a", id="s")
    put(connect(to=broker), "/queue/a", bytes(40 * MB))
    came = 0
    for _ in range(14):
        assert clock.socket.recv(1) == b"\n"
        came += len(slow.socket.recv(MB))
    while came < 40 * MB:
        came += len(slow.socket.recv(MB))


# Producers that wait


def test_a_producer_that_waits_lives(start_broker: StartBroker, connect: Connect) -> None:
    """Over its destination's limit it is not read from; its heart-beats are not missed, and it gets ours."""
    policy = {"/queue/full": {"max_messages": 10, "at_limit": "block"}}
    broker = start_broker("memory:", destination=policy)
    producer = connect(to=broker, heart_beat="500,200")
    other = connect(to=broker)
    for number in range(11):
        producer.send("SEND", destination="/queue/full", receipt=str(number))
    for number in range(10):
        producer.expect("RECEIPT", receipt_id=str(number))
    beats = b""
    longest = 0.0
    while len(beats) < 12:  # longer than the time after which a silent client is dead
        beats += producer.socket.recv(100)
        began = time.monotonic()
        assert is_served(other)
        longest = max(longest, time.monotonic() - began)
    assert beats == b"\n" * len(beats)
    assert longest < 5
    subscribe(other, "/queue/full")
    take(other, 11)
    producer.expect("RECEIPT", receipt_id="10")
    accepted(producer.ask("SEND", destination="/queue/b"))


# Too little of the machine


def refused_at_last(client: Client, size: int, **headers: str) -> Frame:
    """Send until something is refused, each message to a queue of its own, and return the ERROR."""
    number = 0
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        answer = client.ask("SEND", bytes(size), destination=f"/queue/{number}", **headers)
        if answer.command == "ERROR":
            return answer
        number += 1
    raise AssertionError(f"{number} messages were taken")


def accepted_at_last(client: Client, size: int, **headers: str) -> None:
    """Send until a message is taken."""
    end = time.monotonic() + DEADLINE
    while client.ask("SEND", bytes(size), destination="/queue/again", **headers).command == "ERROR":
        assert time.monotonic() < end


@contextmanager
def consuming(broker: BrokerProcess) -> Iterator[None]:
    """Take whatever waits in any queue."""
    with broker.connect() as consumer:
        consumer.send("SUBSCRIBE", destination="/queue/>", id="s")
        thread = threading.Thread(target=consume, args=(consumer,))
        thread.start()
        try:
            yield
        finally:
            consumer.socket.shutdown(socket.SHUT_RDWR)
            thread.join()


def consume(consumer: Client) -> None:
    """Take messages until the link ends."""
    with contextlib.suppress(OSError):
        while consumer.socket.recv(MB):
            pass


SHORTAGES = {
    "memory_limit": (
        {"memory_limit": 5 * MB},
        {"persistent": "false"},
        "The memory for messages that are not stored is full",
        "memory_limit is reached",
        "there is memory again",
    ),
    "map_size": (
        {"map_size": 8 * MB},
        {},
        "The store is full",
        "the store is full (map_size, or disk_reserve)",
        "there is room in the store again",
    ),
    "max_memory": (
        {"max_memory": 150 * MB},
        {},
        "The broker's memory is full",
        "no messages are taken until some are consumed",
        "all is taken again",
    ),
}


@pytest.mark.parametrize("name", SHORTAGES)
def test_a_shortage(start_broker: StartBroker, connect: Connect, tmp_path: Path, name: str) -> None:
    """Whoever sends hears that it may come again; it may once consumers have been there; the log tells of both."""
    settings, headers, refusal, begins, is_over = SHORTAGES[name]
    broker = start_broker(sweep_every=0.1, **settings)
    producer = connect(to=broker)
    answer = refused_at_last(producer, 400_000, **headers)
    expect_error(answer, refusal)
    assert answer.headers["retry"] == "true"
    log = tmp_path / "broker.log"
    assert begins in log.read_text()
    assert is_over not in log.read_text()
    with consuming(broker):
        accepted_at_last(producer, 400_000, **headers)
        end = time.monotonic() + DEADLINE
        while is_over not in log.read_text():
            accepted_at_last(producer, 0)
            assert time.monotonic() < end
    assert log.read_text().count(begins) == 1
