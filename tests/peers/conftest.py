"""Brokers for these stories: two that know each other, and as many more as a story needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.nodes import Node

MakeNode = Callable[..., Node]


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[MakeNode]:
    """Return a function that makes a broker, which is not started yet."""
    nodes: list[Node] = []

    def make(name: str, store: str = "", **settings: Any) -> Node:
        nodes.append(Node(name, tmp_path, store, **settings))
        return nodes[-1]

    yield make
    for node in nodes:
        node.end()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Node]]:
    """Return A, which dials B, for stories that leave nothing behind but queues of their own."""
    a, b = make_pair(tmp_path_factory.mktemp("pair"))
    b.start()
    a.start()
    a.await_linked(b)
    b.await_linked(a)
    yield a, b
    a.end()
    b.end()


@pytest.fixture
def ab(shared: tuple[Node, Node]) -> Iterator[tuple[Node, Node]]:
    """Return A and B; clients are hung up after the test."""
    yield shared
    for node in shared:
        node.hang_up()


def make_pair(directory: Path) -> tuple[Node, Node]:
    """Return A, which dials B, not started. A allows everything, B some; B is full soon."""
    full = {"max_messages": 5}
    a = Node(
        "A",
        directory,
        sweep_every=0.2,
        composite={"/queue/ring": {"forward_to": ["/peer/B/queue/ring"]}},
    )
    b = Node(
        "B",
        directory,
        max_body=21_000_000,
        destination={"q.block": full, "q.error": {**full, "at_limit": "error"}},
        composite={"/queue/ring": {"forward_to": ["/peer/A/queue/ring"]}},
    )
    a.know(b, dial=True)
    b.know(a, accept="q.>,/queue/ring,/queue/rpc.>,/peer/>", send="q.>,ring,/queue/ActiveMQ.DLQ")
    return a, b
