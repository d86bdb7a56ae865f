"""What tests with stomp.py may ask for: a broker that a file of them shares, and connections to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from tests.clients.talker import Talker
from tests.harness import BrokerProcess

_numbers = count(1)
Talk = Callable[..., Talker]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Return a broker that all tests share."""
    directory = tmp_path_factory.mktemp("server")
    process = BrokerProcess(f"lmdb:{directory / 'data'}", directory, {})
    yield process
    process.kill()


@pytest.fixture(params=["1.0", "1.1", "1.2"])
def version(request: pytest.FixtureRequest) -> str:
    """Run the test with each of stomp.py's connection classes."""
    return str(request.param)


@pytest.fixture(params=["1.1", "1.2"])
def later_version(request: pytest.FixtureRequest) -> str:
    """Run the test with those that know NACK and heart-beats."""
    return str(request.param)


@pytest.fixture
def talk(server: BrokerProcess) -> Iterator[Talk]:
    """Return a function that connects: `talk("1.1")`, `talk("1.2", client_id="me", vhost="x")`."""
    talkers: list[Talker] = []

    def new(
        version: str, to: BrokerProcess = server, client_id: str = "", **options: Any
    ) -> Talker:
        talker = Talker(version, to, **options)
        talkers.append(talker)
        talker.connect(**({"client_id": client_id} if client_id else {}))
        return talker

    yield new
    for talker in talkers:
        talker.leave()


@pytest.fixture
def queue() -> str:
    """Return a queue of the test's own."""
    return f"/queue/stomp.py/{next(_numbers)}"
