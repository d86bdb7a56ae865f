"""A directory with stores in it, where commands are typed, and a broker that has stored all that brokers store."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from broker.core.journal import Batch
from broker.stomp import Frame
from broker.store import open_store
from broker.store.tools import Look, find_tools
from tests.commands.conftest import Shell
from tests.harness import DEADLINE, BrokerProcess, Client
from tests.scenarios.administrator import Administrator
from tests.scenarios.steps import accepted, ack, nack, put, subscribe, take
from tests.store.conftest import SETTINGS

LMDB, SQLITE = "lmdb:data", "sqlite:files/hoof.db"
LARGE = bytes(range(256)) * 600  # three pieces in LMDB
SETTINGS_OF_ALL: dict[str, Any] = {
    "name": "here",
    "linger": 0.1,
    "peer": {"there": {"passcode": "p"}},
}

Row = tuple[str, int, int, bytes, bytes]  # queue, priority, number, meta, tail


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Return a way to type commands in a directory of the test's own."""
    return Shell(tmp_path, "stomp://127.0.0.1:1")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., BrokerProcess]]:
    """Return a function that starts a broker with a store in that directory."""
    running: list[BrokerProcess] = []

    def begin(store: str = LMDB, **settings: Any) -> BrokerProcess:
        running.append(BrokerProcess(store, tmp_path, settings))
        return running[-1]

    yield begin
    for broker in running:
        broker.kill()


@pytest.fixture(scope="package")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory where `data`, of LMDB, has everything, and the broker was killed."""
    directory: Path = tmp_path_factory.mktemp("full")
    broker = BrokerProcess(LMDB, directory, SETTINGS_OF_ALL)
    store_everything(broker)
    broker.kill()
    return directory


@pytest.fixture
def full(kept: Path, tmp_path: Path) -> str:
    """Return the URL of the same in the test's own directory."""
    shutil.copytree(kept / "data", tmp_path / "data")
    return LMDB


def store_everything(broker: BrokerProcess) -> None:
    """Let a broker store something of every kind."""
    headers = {"client-id": "c", "heart-beat": "0,0"}
    with Client(broker.port, **headers) as client:
        put(client, "/queue/plain", *[b"%d" % n for n in range(1500)])
        put(client, "/queue/plain", b"urgent", priority="9", color="r:e\nd\\", größe="ü")
        put(client, "/queue/large", LARGE, LARGE[:61430], persistent="true")
        put(client, "/queue/kept", b"a while", expires=str(int(time.time() * 1000) + 3_600_000))
        put(client, "/queue/group", b"1", JMSXGroupID="g", JMSXGroupSeq="1")
        put(client, "/queue/group", b"2", JMSXGroupID="g", JMSXGroupSeq="-1")
        put(client, "/queue/once", b"once", dedup_id="d-1")
        schedule(client, b"later", AMQ_SCHEDULED_DELAY="3600000")
        schedule(client, b"daily", AMQ_SCHEDULED_CRON="0 3 * * *", persistent="true")
        put(client, "/peer/there/queue/far", b"far away")
        Administrator(client).call("pause_peer", "there")
        put(client, "/queue/jobs", b"job", report="processed", correlation_id="j-1")
        put(client, "/queue/done", b"job", report="processed", correlation_id="j-2")
        subscribe(client, "/queue/done", ack="client-individual")
        accepted(ack(client, *take(client, 1)))
        put(client, "/queue/refused", b"again", b"poison")
        subscribe(client, "/queue/refused", id="r", ack="client-individual")
        again, poison = take(client, 2)
        accepted(nack(client, poison))
        client.send("NACK", id=again.headers["ack"], requeue="true")
        take(client, 1)
        for topic, name in (("prices", "all"), ("news.>", "news")):
            subscribe(
                client,
                f"/topic/{topic}",
                id=name,
                ack="client-individual",
                **{"activemq.subscriptionName": name},
            )
        with Client(broker.port) as sender:
            put(sender, "/topic/prices", b"1", b"2")
            put(sender, "/topic/prices", b"3", priority="7", persistent="false")
            put(sender, "/topic/news.today", b"new")
        [first, *_] = take(client, 4)
        accepted(ack(client, first))
        accepted(client.ask("DISCONNECT"))


def schedule(client: Client, body: bytes, **headers: str) -> None:
    """Send a message for later, and wait for the RECEIPT."""
    named = {"destination": "/queue/later", "receipt": "r", **headers}
    client.write(Frame("SEND", named, body).encode("1.2"))
    client.expect("RECEIPT")


def look(url: str, directory: Path) -> Look:
    """Look at a store."""
    tools, path = find_tools(url)
    assert tools is not None
    return tools.look(str(directory / path))


def everything(url: str, directory: Path) -> tuple[list[Row], dict[bytes, bytes], tuple[Any, ...]]:
    """Return all that a store holds: its records, its marks, and what it says of itself."""
    rows: list[Row] = []
    with closing(look(url, directory)) as seen:
        stored = seen.load()
        for queue in stored.queues:
            for priority, count in queue.lanes.items():
                found = seen.read(queue.number, priority, -1, 1 << 30, 1 << 40)
                assert len(found) == count
                rows += [(f"{queue.number} {queue.name}", priority, *row) for row in found]
    return sorted(rows), dict(stored.marks), (stored.node, stored.next_seq, stored.clean)


def filled(url: str, directory: Path, *rows: tuple[int, int, int, bytes, bytes]) -> None:
    """Make a store with records of queue 1, `orders`, as a driver does."""
    driver, _, path = url.partition(":")
    store = open_store(f"{driver}:{directory / path}", SETTINGS)
    store.load()
    store.write(
        Batch(1 + max((row[2] for row in rows), default=0), [(1, "orders")], puts=list(rows))
    )
    store.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Look until it is so; fail if it takes too long."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
