"""Which stores the contract is asked of: all drivers here, or the one whose URL is given.

    pytest tests/store/test_contract.py --store 'mine:{directory}/data'

`{directory}` becomes an empty directory of each test's own. The driver must be registered in the group
`hoofbeat.stores`; docs/write-a-store.md tells how.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.store import StoreSettings
from tests.store.keeper import AT_ONCE, WAYS, Keeper

DURABLE = ("lmdb:{directory}/data", "sqlite:{directory}/data/hoof.db")
SETTINGS = StoreSettings(map_size=64 * 1024**2, disk_reserve=0)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--store", help="URL of a durable store to ask the contract of")


def durable_urls(config: pytest.Config) -> tuple[str, ...]:
    """Return the URLs of the stores under test that outlive their process."""
    own = config.getoption("--store", default=None)
    return (own,) if own else DURABLE


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    urls = durable_urls(metafunc.config)
    if "keeper" in metafunc.fixturenames:
        runs = [(url, way) for url in urls for way in WAYS]
        if urls == DURABLE:
            runs.append(("memory:", AT_ONCE))
        ids = [f"{url.partition(':')[0]} {way}" for url, way in runs]
        metafunc.parametrize("keeper", runs, ids=ids, indirect=True)
    elif "durable" in metafunc.fixturenames:
        ids = [url.partition(":")[0] for url in urls]
        metafunc.parametrize("durable", urls, ids=ids, indirect=True)


@pytest.fixture
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Keeper]:
    """Return a new store, in every driver and in every way to look at it."""
    url, way = request.param
    keeper = Keeper(url.format(directory=tmp_path), SETTINGS, way)
    yield keeper
    keeper.close()


@pytest.fixture
def durable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Keeper]:
    """Return a new store that outlives its process, looked at directly."""
    keeper = Keeper(request.param.format(directory=tmp_path), SETTINGS)
    yield keeper
    keeper.close()
