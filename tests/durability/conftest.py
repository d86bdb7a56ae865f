"""For the tests of durability: a store in trouble, and the marker of what takes minutes."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness import DEADLINE, BrokerProcess, Client

ROOT = Path(__file__).parents[2]

Connect = Callable[..., Client]


class Trouble:
    """Orders to the store `trouble:URL` of brokers started by the same test; see plugin.py."""

    def __init__(self, orders: Path) -> None:
        self._orders = orders
        self._pipes: dict[str, int] = {}

    def fail(self, moment: str) -> None:
        """Let a write fail, for example "before 3"."""
        (self._orders / "fail").write_text(moment)

    def close_gate(self, gate: str = "gate") -> None:
        """From now on writes wait."""
        for name in ("waiting", gate):
            if name not in self._pipes:
                path = self._orders / name
                os.mkfifo(path)
                self._pipes[name] = os.open(path, os.O_RDWR)

    def await_write(self) -> None:
        """Wait until a write waits at a gate."""
        waiting = self._pipes["waiting"]
        assert select.select([waiting], [], [], DEADLINE)[0], "nothing is written"
        os.read(waiting, 1)

    def let_through(self, gate: str = "gate") -> None:
        """Let one write pass."""
        os.write(self._pipes[gate], b"g")

    def open_gate(self, gate: str = "gate") -> None:
        """From now on writes pass, the one that waits included."""
        (self._orders / gate).unlink()
        self.let_through(gate)

    def remove_gate(self, gate: str) -> None:
        """From now on writes pass. Nobody waits: the broker that did is dead."""
        (self._orders / gate).unlink()
        os.close(self._pipes.pop(gate))

    def done(self) -> None:
        """Close the pipes."""
        for pipe in self._pipes.values():
            os.close(pipe)


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trouble]:
    """Install the driver `trouble` for brokers started by this test, as a package of its own."""
    package = tmp_path / "packages" / "trouble-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: trouble\nVersion: 1\n")
    (package / "entry_points.txt").write_text(
        "[hoofbeat.stores]\ntrouble = tests.durability.plugin:open_troubled\n"
    )
    orders = tmp_path / "orders"
    orders.mkdir()
    paths = [str(package.parent), str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    monkeypatch.setenv("TROUBLE", str(orders))
    orders_given = Trouble(orders)
    yield orders_given
    orders_given.done()


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return a function that logs a client in to a broker; it is closed after the test."""
    with ExitStack() as clients:

        def connect(broker: BrokerProcess, **headers: str) -> Client:
            return clients.enter_context(broker.connect(**headers))

        yield connect
