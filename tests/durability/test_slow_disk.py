"""A disk that takes its time delays promises, and nothing else."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.durability.conftest import Connect, Trouble
from tests.durability.ways import STORES, drain
from tests.harness import Client

MIB = 1024 * 1024


@pytest.fixture
def url(tmp_path: Path, trouble: Trouble) -> str:
    """Return the URL of a store that obeys `trouble`."""
    return "trouble:" + STORES["lmdb"].format(tmp_path)


def await_heart_beats(client: Client, count: int) -> None:
    """Wait until so many have come; nothing else may come."""
    beats = b""
    while len(beats) < count:
        beats += client.socket.recv(100)
    assert beats == b"\n" * len(beats)


def test_a_receipt_waits_for_the_disk_and_nothing_else_does(
    start_broker: StartBroker, connect: Connect, trouble: Trouble, url: str
) -> None:
    """While a commit hangs: messages flow, heart-beats go on, others are served; no RECEIPT is early."""
    broker = start_broker(url)
    beating = connect(broker, **{"heart-beat": "0,100"})
    consumer = connect(broker)
    consumer.send("SUBSCRIBE", destination="/queue/slow", id_="1", ack="client-individual")
    producer = connect(broker)
    other = connect(broker)
    other.send("SUBSCRIBE", destination="/queue/quick", id_="1")
    trouble.close_gate()
    producer.send("SEND", b"1", destination="/queue/slow", receipt="first")
    trouble.await_write()
    assert consumer.expect("MESSAGE").body == b"1"
    producer.send("SEND", b"2", destination="/queue/slow", receipt="second")
    assert consumer.expect("MESSAGE").body == b"2"
    for number in range(100):
        other.send("SEND", b"%d" % number, destination="/queue/quick", persistent="false")
        assert other.expect("MESSAGE").body == b"%d" % number
    await_heart_beats(beating, 5)
    assert producer.silent()
    trouble.let_through()
    producer.expect("RECEIPT", receipt_id="first")
    trouble.await_write()  # of what came meanwhile
    assert producer.silent()
    trouble.let_through()
    producer.expect("RECEIPT", receipt_id="second")


def test_an_acknowledgement_and_a_commit_wait_for_the_disk_too(
    start_broker: StartBroker, connect: Connect, trouble: Trouble, url: str
) -> None:
    """A RECEIPT of ACK, NACK or COMMIT means the same as that of SEND."""
    broker = start_broker(url)
    client = connect(broker)
    for number in range(3):
        assert client.ask("SEND", b"%d" % number, destination="/queue/a").command == "RECEIPT"
    client.send("SUBSCRIBE", destination="/queue/a", id_="1", ack="client-individual")
    messages = [client.expect("MESSAGE") for _ in range(3)]
    trouble.close_gate()
    client.send("ACK", id_=messages[0].headers["ack"], receipt="ack")
    trouble.await_write()
    assert client.silent()
    client.send("NACK", id_=messages[1].headers["ack"], receipt="nack")
    client.send("BEGIN", transaction="t")
    client.send("ACK", id_=messages[2].headers["ack"], transaction="t")
    client.send("COMMIT", transaction="t", receipt="commit")
    assert client.silent()
    trouble.let_through()
    client.expect("RECEIPT", receipt_id="ack")
    trouble.await_write()
    assert client.silent()
    trouble.let_through()
    client.expect("RECEIPT", receipt_id="nack")
    client.expect("RECEIPT", receipt_id="commit")


@pytest.mark.parametrize(("gate", "there"), [("gate", []), ("gate-after", [b"1"])])
def test_death_between_write_and_reply(
    gate: str,
    there: list[bytes],
    start_broker: StartBroker,
    connect: Connect,
    trouble: Trouble,
    url: str,
) -> None:
    """Killed before the write: no RECEIPT, no message. Killed after it: no RECEIPT, but the message."""
    broker = start_broker(url)
    producer = connect(broker)
    trouble.close_gate(gate)
    producer.send("SEND", b"1", destination="/queue/a", receipt="first")
    trouble.await_write()
    assert producer.silent()
    broker.kill()
    producer.expect_closed()
    trouble.open_gate(gate)
    with start_broker(url).connect() as client:
        assert [message.body for message in drain(client, "/queue/a")] == there


def test_producers_faster_than_the_disk_wait(
    start_broker: StartBroker, connect: Connect, trouble: Trouble, url: str
) -> None:
    """What waits for the disk is limited: a producer is not read from, others are, then all goes on.

    Meanwhile it gets heart-beats, and its own, which nobody reads, are not missed.
    """
    broker = start_broker(url, journal_bytes=MIB)
    before = broker.memory()
    producer = connect(broker, **{"heart-beat": "500,200"})
    message = Frame("SEND", {"destination": "/queue/a"}, bytes(10_000)).encode("1.2")
    sent: list[int] = []

    def produce() -> None:
        for number in range(5000):
            producer.write(message)
            sent.append(number)

    thread = threading.Thread(target=produce, daemon=True)
    trouble.close_gate()
    thread.start()
    trouble.await_write()
    with broker.connect() as other:
        other.send("SUBSCRIBE", destination="/queue/quick", id_="1")
        for _ in range(1000):
            other.send("SEND", b"ping", destination="/queue/quick", persistent="false")
            assert other.expect("MESSAGE").body == b"ping"
        assert thread.is_alive()
        assert len(sent) < 3000  # most of it fits into the kernel's buffers
        assert broker.memory() - before < 16 * MIB
        await_heart_beats(producer, 12)  # longer than the time after which a silent client is dead
        assert thread.is_alive()
        trouble.open_gate()
        thread.join(30)
        assert producer.ask("SEND", b"", destination="/queue/a").command == "RECEIPT"
        assert broker.memory() - before < 32 * MIB
        other.send("SUBSCRIBE", destination="/queue/a", id_="2")
        for _ in range(5001):
            other.expect("MESSAGE")
