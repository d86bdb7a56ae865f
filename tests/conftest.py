"""What every test may ask for: a broker of its own, as a process, and a way to talk to it in frames."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import BrokerProcess

# A shell that runs the tests in the background has SIGINT ignored, and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

StartBroker = Callable[..., BrokerProcess]


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "long: takes minutes or gigabytes; only with -m long")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is long unless it is asked for."""
    if "long" not in config.getoption("markexpr"):
        short = [item for item in items if item.get_closest_marker("long") is None]
        config.hook.pytest_deselected(items=[item for item in items if item not in short])
        items[:] = short


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[StartBroker]:
    """Return a function that starts a broker on a free port, in a directory of the test's own.

    Called again with the same store it starts the next one on the same data. Everything is stopped after
    the test.
    """
    running: list[BrokerProcess] = []

    def start(store: str = "", **settings: object) -> BrokerProcess:
        broker = BrokerProcess(store or f"lmdb:{tmp_path / 'data'}", tmp_path, settings)
        running.append(broker)
        return broker

    yield start
    for broker in running:
        broker.kill()


@pytest.fixture
def broker(start_broker: StartBroker) -> BrokerProcess:
    """Return a running broker with LMDB."""
    return start_broker()


@pytest.fixture
def broker_url(broker: BrokerProcess) -> str:
    """Return the URL of a running broker."""
    return broker.url
