"""What every test may ask for: a broker of its own, as a process, and a way to talk to it in frames."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import BrokerProcess, Launch, fork

# A shell that runs the tests in the background has SIGINT ignored, and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

StartBroker = Callable[..., BrokerProcess]

#: Tests that run only when they are asked for.
MARKERS = {
    "long": "takes minutes or gigabytes; only with -m long",
    "faults": "the long form of a fault, or one that needs strace or mount; only with -m faults",
}


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    for name, text in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {text}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what runs only when it is asked for."""
    unasked = [name for name in MARKERS if name not in config.getoption("markexpr")]
    left = [item for item in items if any(item.get_closest_marker(name) for name in unasked)]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[StartBroker]:
    """Return a function that starts a broker on a free port, in a directory of the test's own.

    Called again with the same store it starts the next one on the same data. Everything is stopped after
    the test.
    """
    running: list[BrokerProcess] = []

    def start(store: str = "", launch: Launch = fork, **settings: object) -> BrokerProcess:
        broker = BrokerProcess(store or f"lmdb:{tmp_path / 'data'}", tmp_path, settings, launch)
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
