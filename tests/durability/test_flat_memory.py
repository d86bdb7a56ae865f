"""What comes and goes leaves no memory behind: the same again and again costs nothing more."""

from __future__ import annotations

import pytest

from tests.conftest import StartBroker
from tests.durability.conftest import Connect
from tests.durability.ways import MB, frames
from tests.harness import BrokerProcess, Client

LONG = [pytest.mark.long, pytest.mark.timeout(900)]
CYCLES = [5_000, pytest.param(100_000, marks=LONG)]
CONNECTIONS = [1_000, pytest.param(20_000, marks=LONG)]


@pytest.mark.parametrize("cycles", CYCLES)
def test_subscribe_and_unsubscribe(
    cycles: int, start_broker: StartBroker, connect: Connect
) -> None:
    """With messages in flight, which go back each time; queues and topics; ids never used before."""
    broker = start_broker()
    client = connect(broker)
    for _ in range(10):
        assert client.ask("SEND", bytes(1000), destination="/queue/a").command == "RECEIPT"
    subscribe_and_unsubscribe(client, range(1000))
    before = broker.memory()
    for start in range(0, cycles, 1000):
        subscribe_and_unsubscribe(client, range(start, start + 1000))
    grown = broker.memory() - before
    print(f"{cycles} cycles: {grown / 1000:.0f} kB more")
    assert grown < 2 * MB


def subscribe_and_unsubscribe(client: Client, numbers: range) -> None:
    """Come and go."""
    for number in numbers:
        for destination in ("/queue/a", "/topic/a"):
            id = f"{destination} {number}"
            client.send("SUBSCRIBE", destination=destination, id_=id, ack="client-individual")
            client.send("UNSUBSCRIBE", id_=id)
        if number % 10 == 9:
            client.send("BEGIN", transaction=str(number), receipt=str(number))
            client.send("ABORT", transaction=str(number))
            next(frame for frame in frames(client) if frame.command == "RECEIPT")


@pytest.mark.parametrize("connections", CONNECTIONS)
def test_short_lived_connections(connections: int, start_broker: StartBroker) -> None:
    """Each logs in, sends, subscribes, leaves a transaction open, and says goodbye or just hangs up."""
    broker = start_broker(connect_timeout=1.0)
    come_and_go(broker, 500)
    before = broker.memory()
    come_and_go(broker, connections)
    grown = broker.memory() - before
    print(f"{connections} connections: {grown / 1000:.0f} kB more")
    assert grown < 4 * MB


def come_and_go(broker: BrokerProcess, connections: int) -> None:
    """Connect, do a little of everything, disconnect."""
    for number in range(connections):
        with broker.connect() as client:
            client.send("SUBSCRIBE", destination="/queue/a", id_="1", ack="client-individual")
            client.send("SUBSCRIBE", destination="/topic/a", id_="2")
            assert client.ask("SEND", b"x", destination="/queue/b", persistent="false")
            client.send("BEGIN", transaction="1")
            client.send("SEND", bytes(1000), destination="/queue/a", transaction="1")
            client.send("SUBSCRIBE", destination="/queue/b", id_="3")
            client.expect("MESSAGE")
            if number % 2:
                assert client.ask("DISCONNECT").command == "RECEIPT"
                client.expect_closed()
