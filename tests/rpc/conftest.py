"""One broker for all tests of a module: each test has a service, and so queues, of its own."""

from collections.abc import Iterator

import pytest

from tests.processes import BrokerProcess


@pytest.fixture(scope="module")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a running broker with LMDB."""
    directory = tmp_path_factory.mktemp("broker")
    with BrokerProcess(store=f"lmdb:{directory / 'data'}") as broker:
        yield broker.url
