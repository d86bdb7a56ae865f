"""RPyC: a blocking call of a function that was looked up once, and its asynchronous form."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import rpyc
from rpyc.utils.server import ThreadedServer

from tests.bench.peers.load import FLIGHT, Clock, main


class Service(rpyc.Service):
    def exposed_echo(self, argument: str) -> str:
        return argument


def serve(address: str, ready: Callable[[str], None]) -> None:
    server = ThreadedServer(Service, hostname="127.0.0.1", port=0)
    ready(f"127.0.0.1:{server.port}")
    server.start()


def connected(address: str) -> Any:
    host, _, port = address.partition(":")
    return rpyc.connect(host, int(port))


def one(address: str, clock: Clock) -> None:
    echo = connected(address).root.echo
    clock.restart()
    for argument in clock.arguments():
        clock.came(echo(argument), argument)


def flight(address: str, clock: Clock) -> None:
    connection = connected(address)
    echo = rpyc.async_(connection.root.echo)
    under_way: deque[tuple[Any, str]] = deque()
    clock.restart()
    for argument in clock.arguments():
        if len(under_way) == FLIGHT:
            result, due = under_way.popleft()
            clock.came(result.value, due)
        under_way.append((echo(argument), argument))
    for result, due in under_way:
        clock.came(result.value, due)


if __name__ == "__main__":
    main(serve, {"one": one, "flight": flight})
