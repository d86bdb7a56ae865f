"""Fault 7: a consumer that takes a kilobyte in a second, with a backlog that would fill it for days."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.durability.ways import MB, fill, frames, pings, tell
from tests.faults.conftest import MakeProxy
from tests.faults.launching import Start
from tests.harness import Client

QUEUE = "/queue/backlog"
SIZE = 2000  # bytes of a message
#: Bytes that are on their way to the slow one: what the broker keeps unsent, and what two kernels buffer.
ON_THE_WAY = 20 * MB
RATE = 1000  # bytes a second
PATIENCE = 15.0  # seconds in which a quick consumer must get something
COUNTS = [12_000, pytest.param(100_000, marks=pytest.mark.faults)]


def patiently(messages: Iterator[Frame]) -> Iterator[Frame]:
    """Yield messages. Fails when none comes."""
    try:
        yield from messages
    except TimeoutError:
        raise AssertionError("the slow one has them all") from None


def slow_consumer(start: Start, proxy: MakeProxy, count: int) -> str:
    """Let a slow one subscribe in mode auto, then a quick one; return what was seen."""
    broker = start()
    with broker.connect() as producer:
        fill(producer, QUEUE, count, SIZE)
    before = broker.memory()
    between = proxy(broker)
    between.rate = RATE
    with Client(between.port) as slow, broker.connect() as quick:
        slow.send("SUBSCRIBE", destination=QUEUE, id_="1")
        slow.expect("MESSAGE")
        with pings(broker) as took:
            quick.send("SUBSCRIBE", destination=QUEUE, id_="1", ack="client", prefetch_count="1000")
            left = count - ON_THE_WAY // SIZE
            grown = 0
            quick.socket.settimeout(PATIENCE)
            for number, message in enumerate(patiently(frames(quick)), 1):
                if number % 1000 == 1:
                    grown = max(grown, broker.memory() - before)
                    assert grown < ON_THE_WAY, f"{grown / MB:.0f} MB more for the slow one"
                if number % 500 == 0:
                    quick.send("ACK", id_=message.headers["ack"])
                if number == left:
                    break
        tell("meanwhile", took, broker)
        assert max(took) < 5, "others wait for the slow one"
    broker.kill()
    return (
        f"{count} messages, one consumer at {RATE} bytes/s: {grown / MB:.1f} MB more,"
        f" {left} to a quick one"
    )


@pytest.mark.parametrize("count", COUNTS)
def test_a_slow_consumer(count: int, start_broker: StartBroker, proxy: MakeProxy) -> None:
    """It costs a few buffers; another consumer of the same queue gets the rest, strangers notice nothing."""
    print(slow_consumer(start_broker, proxy, count))
