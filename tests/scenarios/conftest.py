"""What the stories share: one broker, clients that are hung up after each test, fresh names.

A story that is about a restart or a setting takes `start_broker` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.harness import BrokerProcess, Client

Connect = Callable[..., Client]

_numbers = count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Return the broker that all stories talk to, with default settings and LMDB: starting one is slow."""
    directory: Path = tmp_path_factory.mktemp("server")
    process = BrokerProcess(f"lmdb:{directory / 'data'}", directory, {})
    yield process
    process.kill()


@pytest.fixture
def connect(server: BrokerProcess) -> Iterator[Connect]:
    """Return a function that connects a client: `connect("1.1", heart_beat="0,0")`.

    `connect(None)` opens the link and says nothing; `to=` names another broker than the common one.
    """
    clients: list[Client] = []

    def new(version: str | None = "1.2", to: BrokerProcess = server, **headers: str) -> Client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        client = Client(to.port, version, **named)
        clients.append(client)
        return client

    yield new
    for client in clients:
        client.close()


@pytest.fixture
def queue() -> str:
    """Return the destination of a queue that nobody else uses."""
    return f"/queue/scenario.{next(_numbers)}"


@pytest.fixture
def topic() -> str:
    """Return the destination of a topic that nobody else uses."""
    return f"/topic/scenario.{next(_numbers)}"


@pytest.fixture(params=["1.0", "1.1", "1.2"])
def version(request: pytest.FixtureRequest) -> str:
    """Run the test once for each version of STOMP."""
    return str(request.param)


@pytest.fixture(params=["1.1", "1.2"])
def later_version(request: pytest.FixtureRequest) -> str:
    """Run the test once for each version of STOMP that has escapes, heart-beats and NACK."""
    return str(request.param)
