"""A backlog costs disk, not memory, and no time at the start."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.durability.conftest import Connect
from tests.durability.ways import STORES, fill, frames, take
from tests.harness import BrokerProcess

MB = 1_000_000
LONG = [pytest.mark.long, pytest.mark.timeout(900)]
COUNTS = [100_000, pytest.param(1_000_000, marks=LONG)]
FEWER = [(30_000, 4000), pytest.param(1_000_000, 200, marks=LONG)]  # how many, of how many bytes


class Clock:
    """Tells how long each step took, the broker's part of it, and how much memory it has after it."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._cpu: dict[int, float] = {}

    def tell(self, what: str, broker: BrokerProcess) -> float:
        """Print a line; return the seconds since the last one."""
        now = time.perf_counter()
        took, self._began = now - self._began, now
        fields = Path(f"/proc/{broker.process.pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        before, self._cpu[broker.port] = self._cpu.get(broker.port, 0.0), cpu
        print(
            f"{what}: {took:.3f} s, {cpu - before:.2f} s of CPU; RssAnon {broker.memory() / MB:.0f} MB"
        )
        return took


@pytest.mark.parametrize("count", COUNTS)
def test_a_backlog_is_on_disk(
    count: int, start_broker: StartBroker, connect: Connect, tmp_path: Path
) -> None:
    """Filled, killed, started: the first client is in at once, gets its first message at once, then all."""
    url = STORES["lmdb"].format(tmp_path)
    broker = start_broker(url)
    before = broker.memory()
    clock = Clock()
    fill(connect(broker), "/queue/a", count)
    clock.tell(f"{count} messages in", broker)
    assert broker.memory() < before + 40 * MB
    broker.kill()
    broker = start_broker(url)
    client = connect(broker)
    assert clock.tell("first CONNECTED", broker) < 5
    client.send("SUBSCRIBE", destination="/queue/a", id_="1", ack="client")
    incoming = frames(client)
    take(client, incoming, range(1))
    assert clock.tell("first message", broker) < 1
    take(client, incoming, range(1, count))
    clock.tell(f"{count - 1} messages out", broker)
    assert broker.memory() < before + 40 * MB


@pytest.mark.parametrize(("count", "size"), FEWER)
def test_a_backlog_behind_a_slow_consumer(
    count: int, size: int, start_broker: StartBroker, connect: Connect
) -> None:
    """A consumer that holds its prefetch and does nothing costs no memory; when it wakes up all is there."""
    broker = start_broker()
    before = broker.memory()
    clock = Clock()
    consumer = connect(broker)
    consumer.send("SUBSCRIBE", destination="/queue/a", id_="1", ack="client")
    fill(connect(broker), "/queue/a", count, size)
    clock.tell(f"{count} messages in", broker)
    assert broker.memory() < before + 40 * MB
    take(consumer, frames(consumer), range(count))
    clock.tell(f"{count} messages out", broker)
    assert broker.memory() < before + 40 * MB


@pytest.mark.parametrize(("count", "size"), FEWER)
def test_a_backlog_behind_a_consumer_that_does_not_read(
    count: int, size: int, start_broker: StartBroker, connect: Connect
) -> None:
    """With ack:auto a message is gone when it was written to the socket, so only so many are."""
    broker = start_broker()
    before = broker.memory()
    clock = Clock()
    consumer = connect(broker)
    consumer.send("SUBSCRIBE", destination="/queue/a", id_="1")
    fill(connect(broker), "/queue/a", count, size)
    clock.tell(f"{count} messages in", broker)
    assert broker.memory() < before + 40 * MB
    take(consumer, frames(consumer), range(count), ack_every=0)
    clock.tell(f"{count} messages out", broker)
    assert broker.memory() < before + 40 * MB
