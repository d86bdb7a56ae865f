"""hoofbeat, as its own benchmark measures it: a worker process, and the ways to call of `broker.bench.callers`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import rpc
from broker.bench.callers import WAYS
from broker.bench.remote import echo
from tests.bench.peers.load import FLIGHT, Clock, Load, main

SERVICE = "bench"


def serve(address: str, ready: Callable[[str], None]) -> None:
    worker = rpc.Worker(address, service=SERVICE, concurrency=FLIGHT)
    worker.method(echo)
    worker.run(on_ready=lambda: ready(address))


def calling(way: str, width: int) -> Load:
    def run(address: str, clock: Clock) -> None:
        callers = WAYS[way](address, SERVICE, width)
        callers.start()
        pause = threading.Event()
        pause.wait(clock.warmup)
        before, begun = callers.done, time.perf_counter()
        pause.wait(clock.seconds)
        clock.done, clock.seconds = callers.done - before, time.perf_counter() - begun
        callers.stop()

    return run


if __name__ == "__main__":
    loads = {
        "one": calling("threads", 1),
        "flight": calling("submit", FLIGHT),
        "batch": calling("map", 1),
        "one-aio": calling("aio", 1),
        "flight-aio": calling("aio", FLIGHT),
        "one-tx": calling("tx", 1),
        "flight-tx": calling("tx", FLIGHT),
    }
    main(serve, loads)
