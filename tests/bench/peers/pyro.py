"""Pyro5: one proxy, its batches one after the other, and as many proxies as there are threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import Pyro5.api

from tests.bench.peers.load import BATCH, FLIGHT, Clock, main


class Service:
    def echo(self, argument: str) -> str:
        return argument


def serve(address: str, ready: Callable[[str], None]) -> None:
    daemon = Pyro5.api.Daemon(host="127.0.0.1")
    ready(str(daemon.register(Pyro5.api.expose(Service)())))
    daemon.requestLoop()


def one(address: str, clock: Clock) -> None:
    with Pyro5.api.Proxy(address) as proxy:
        proxy._pyroBind()
        clock.restart()
        for argument in clock.arguments():
            clock.came(proxy.echo(argument), argument)


def flight(address: str, clock: Clock) -> None:
    """A proxy is one thread's, and waits for its answer."""

    def calling(_: int) -> None:
        with Pyro5.api.Proxy(address) as proxy:
            for argument in clock.arguments():
                clock.came(proxy.echo(argument), argument)

    clock.restart()
    with ThreadPoolExecutor(FLIGHT) as pool:
        list(pool.map(calling, range(FLIGHT)))


def batch(address: str, clock: Clock) -> None:
    with Pyro5.api.Proxy(address) as proxy:
        proxy._pyroBind()
        clock.restart()
        arguments = clock.arguments()
        while asked := list(islice(arguments, BATCH)):
            together = Pyro5.api.BatchProxy(proxy)
            for argument in asked:
                together.echo(argument)
            for answer, argument in zip(together(), asked, strict=True):
                clock.came(answer, argument)


if __name__ == "__main__":
    main(serve, {"one": one, "flight": flight, "batch": batch})
