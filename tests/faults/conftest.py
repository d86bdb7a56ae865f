"""For the fault tests: a proxy between a client and a broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.durability.conftest import connect
from tests.harness import BrokerProcess
from tests.peers.proxy import Proxy

__all__ = ["connect"]

MakeProxy = Callable[[BrokerProcess], Proxy]


@pytest.fixture
def proxy() -> Iterator[MakeProxy]:
    """Return a function that puts a proxy in front of a broker."""
    made: list[Proxy] = []

    def make(broker: BrokerProcess) -> Proxy:
        made.append(Proxy(broker.port))
        return made[-1]

    yield make
    for each in made:
        each.close()
