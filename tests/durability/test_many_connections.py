"""Thousands of clients that come at the same moment and then do nothing."""

from __future__ import annotations

import resource
import selectors
import socket
import time
from collections.abc import Iterator

import pytest

from broker.stomp import Frame
from tests.conftest import StartBroker
from tests.durability.ways import MB, pings, tell
from tests.harness import DEADLINE

LOGIN = Frame("CONNECT", {"accept-version": "1.2", "host": "localhost"}).encode("1.0")
COUNTS = [1000, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(300)])]


@pytest.fixture
def many_files() -> Iterator[None]:
    """Allow this process as many open files as the system grants it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def log_in_together(port: int, count: int) -> list[socket.socket]:
    """Open `count` links at once and send CONNECT on each; return them when all got CONNECTED."""
    links = []
    with selectors.EpollSelector() as selector:
        for _ in range(count):
            link = socket.socket()
            links.append(link)
            link.setblocking(False)
            link.connect_ex(("127.0.0.1", port))
            selector.register(link, selectors.EVENT_WRITE, bytearray())
        waiting = count
        end = time.monotonic() + 2 * DEADLINE
        while waiting:
            ready = selector.select(end - time.monotonic())
            assert ready, f"{waiting} of {count} are not CONNECTED"
            for key, events in ready:
                link = key.fileobj  # type: ignore[assignment]
                if events & selectors.EVENT_WRITE:
                    link.send(LOGIN)
                    selector.modify(link, selectors.EVENT_READ, key.data)
                    continue
                key.data.extend(link.recv(10_000))
                assert key.data.startswith(b"CONNECTED"[: len(key.data)]), key.data
                if key.data.endswith(b"\0\n"):
                    selector.unregister(link)
                    waiting -= 1
    return links


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("count", COUNTS)
def test_many_idle_connections(count: int, start_broker: StartBroker) -> None:
    """All are let in, each costs little memory, others are served meanwhile and afterwards."""
    broker = start_broker(max_waiting=2 * count)
    with broker.connect() as client:  # everything that is loaded late has been
        assert client.silent()
    before = broker.memory("VmRSS")
    with pings(broker) as took:
        began = time.monotonic()
        links = log_in_together(broker.port, count)
        print(f"{count} CONNECTED in {time.monotonic() - began:.2f} s")
    tell("meanwhile", took, broker)
    each = (broker.memory("VmRSS") - before) / count
    print(f"{each / 1000:.1f} kB of RSS each")
    assert each < 20_000
    with pings(broker) as idle, broker.connect() as client:
        for _ in range(200):
            assert client.ask("SEND", b"x", destination="/queue/a").command == "RECEIPT"
    tell("with all of them idle", idle, broker)
    with pings(broker) as leaving:
        for link in links:
            link.close()
        with broker.connect() as client:
            assert client.silent()
    tell("while they leave", leaving, broker)
    assert max(took) < 5
    assert max(idle) < 2
    assert broker.memory() < before + count * 20_000 + 10 * MB
