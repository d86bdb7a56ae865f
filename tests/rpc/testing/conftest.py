"""A broker in memory for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import rpc.testing


@pytest.fixture
def broker() -> Iterator[rpc.testing.Broker]:
    with rpc.testing.Broker() as broker:
        yield broker
