"""zerorpc, with its defaults; under way at once are calls of as many greenlets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import zerorpc

from tests.bench.peers.load import FLIGHT, Clock, free_port, main


class Service:
    def echo(self, argument: str) -> str:
        return argument


def serve(address: str, ready: Callable[[str], None]) -> None:
    server = zerorpc.Server(Service())
    own = f"tcp://127.0.0.1:{free_port()}"
    server.bind(own)
    ready(own)
    server.run()


def connected(address: str) -> Any:
    client = zerorpc.Client()
    client.connect(address)
    client.echo("connected")
    return client


def caller(client: Any, clock: Clock, arguments: Iterator[str]) -> None:
    for argument in arguments:
        clock.came(client.echo(argument), argument)


def one(address: str, clock: Clock) -> None:
    client = connected(address)
    clock.restart()
    caller(client, clock, clock.arguments())


def flight(address: str, clock: Clock) -> None:
    client = connected(address)
    clock.restart()
    arguments = clock.arguments()
    gevent.joinall(
        [gevent.spawn(caller, client, clock, arguments) for _ in range(FLIGHT)], raise_error=True
    )


if __name__ == "__main__":
    main(serve, {"one": one, "flight": flight})
