"""Brokers that know each other, as real processes; each is dialled through a proxy, so its address stays."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from broker.stomp import Frame
from tests.harness import DEADLINE, BrokerProcess, Client
from tests.peers.proxy import Proxy
from tests.scenarios.administrator import Administrator
from tests.scenarios.steps import let_pass

Found = TypeVar("Found")

STORES = {"lmdb": "lmdb:{}/data", "sqlite": "sqlite:{}/hoof.db"}
STORE = os.environ.get("HOOFBEAT_STORE", "lmdb")  # of stories that do not choose
SECRET = "the secret of both"


class Node:
    """One broker with a name."""

    def __init__(
        self,
        name: str,
        directory: Path,
        store: str = "",
        transport: str = "stomp",
        **settings: object,
    ) -> None:
        """Its store, configuration and log lie in a directory of its own; `transport` is what it is dialled by."""
        self.name = name
        self.transport = transport
        self.directory = directory / name
        self.directory.mkdir()
        self.door = Proxy()  # through which others dial it
        self.settings: dict[str, Any] = {"name": name, "peer": {}, **settings}
        if transport != "stomp":
            self.settings["listener"] = [{"protocol": transport, "port": 0}]
        self._store = STORES[store or STORE].format(self.directory)
        self._clients: list[Client] = []
        self._broker: BrokerProcess | None = None

    def know(self, other: Node, dial: bool = False, **settings: Any) -> None:
        """Name a peer."""
        section: dict[str, object] = {"passcode": SECRET, **settings}
        if dial:
            section.setdefault("url", f"{other.transport}://127.0.0.1:{other.door.port}")
        self.settings["peer"][other.name] = section

    @property
    def broker(self) -> BrokerProcess:
        """The process that runs."""
        assert self._broker is not None
        return self._broker

    def start(self) -> None:
        """Start it, or start it again on the same data."""
        self._broker = BrokerProcess(self._store, self.directory, self.settings)
        ports = self._broker.ports
        self.door.target = ports.get(
            self.transport, self._broker.port
        )  # that with TLS is the first

    def kill(self) -> None:
        """Kill -9."""
        self.door.target = 0
        self.broker.kill()

    def stop(self) -> None:
        """End it as an operator would."""
        self.hang_up()  # else it gives clients time to do so
        self.door.target = 0
        assert self.broker.stop() == 0

    def connect(self, **headers: str) -> Client:
        """Return a client; it is hung up at the end of the test."""
        client = self.broker.connect(
            **{name.replace("_", "-"): value for name, value in headers.items()}
        )
        self._clients.append(client)
        return client

    def hang_up(self) -> None:
        """End all clients."""
        for client in self._clients:
            client.close()
        self._clients.clear()

    def end(self) -> None:
        """All is over."""
        self.hang_up()
        if self._broker is not None:
            self._broker.kill()
        self.door.close()

    def log(self) -> str:
        """Return what it has told the operator."""
        return (self.directory / "broker.log").read_text()

    def call(self, method: str, *params: object) -> Any:
        """Call one of its own methods."""
        with self.broker.connect() as client:
            return Administrator(client).call(method, *params)

    def peer(self, other: Node | str) -> dict[str, Any]:
        """Return how one of its peers fares."""
        name = other if isinstance(other, str) else other.name
        [found] = [each for each in self.call("peers") if each["name"] == name]
        return dict(found)

    def await_peer(self, other: Node, **wanted: object) -> dict[str, Any]:
        """Wait until a peer fares so."""
        return wait_for(self, lambda: self.peer(other), lambda peer: wanted.items() <= peer.items())

    def await_linked(self, other: Node) -> None:
        """Wait for the link."""
        self.await_peer(other, linked=True)

    def await_forwarded(self, other: Node) -> dict[str, Any]:
        """Wait until nothing is left that waits for a peer."""
        return self.await_peer(other, waiting=0, in_flight=0)

    def await_log(self, *texts: str) -> str:
        """Wait until all these have been said."""
        return wait_for(self, self.log, lambda log: all(text in log for text in texts))


def wait_for(node: Node, look: Callable[[], Found], wanted: Callable[[Found], bool]) -> Found:
    """Look again and again until it is as wanted, and return that. The clock is the broker's heart-beat."""
    end = time.monotonic() + DEADLINE
    while not wanted(found := look()):
        assert time.monotonic() < end, found
        let_pass(node.broker, 0.05)
    return found


def numbered(first: int, last: int) -> list[bytes]:
    """Return the bodies of some messages."""
    return [b"%d" % number for number in range(first, last + 1)]


def status(frame: Frame) -> tuple[str, str]:
    """Return which message a report is about, and what it says."""
    return frame.headers["correlation-id"], frame.headers["report"]
