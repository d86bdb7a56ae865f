"""stomp.py on both sides, as one writes it by hand: JSON, `reply-to` and `correlation-id`, over hoofbeat."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import stomp

from tests.bench.peers.load import FLIGHT, Clock, main

REQUESTS = "/queue/bench.stomp-py"
PATIENCE = 30.0  # seconds


def connected(address: str) -> Any:
    host, _, port = address.removeprefix("stomp://").partition(":")
    connection = stomp.Connection12([(host, int(port))])
    connection.connect(wait=True)
    return connection


class Worker(stomp.ConnectionListener):
    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def on_message(self, frame: Any) -> None:
        argument = json.loads(frame.body)
        self.connection.send(
            frame.headers["reply-to"],
            json.dumps(argument),
            headers={"correlation-id": frame.headers["correlation-id"]},
        )


def serve(address: str, ready: Callable[[str], None]) -> None:
    connection = connected(address)
    connection.set_listener("worker", Worker(connection))
    connection.subscribe(REQUESTS, id="worker", ack="auto")
    ready(address)
    threading.Event().wait()


class Caller(stomp.ConnectionListener):
    """Calls; answers are compared in the thread that hears them."""

    def __init__(self, address: str) -> None:
        self.replies = f"{REQUESTS}.{os.getpid()}"
        self.waiting: dict[str, tuple[str, SimpleQueue[tuple[object, str]]]] = {}
        self.connection = connected(address)
        self.connection.set_listener("caller", self)
        self.connection.subscribe(self.replies, id="caller", ack="auto")

    def call(self, number: int, argument: str, answers: SimpleQueue[tuple[object, str]]) -> None:
        self.waiting[str(number)] = argument, answers
        self.connection.send(
            REQUESTS,
            json.dumps(argument),
            headers={"reply-to": self.replies, "correlation-id": str(number)},
        )

    def on_message(self, frame: Any) -> None:
        argument, answers = self.waiting.pop(frame.headers["correlation-id"])
        answers.put((json.loads(frame.body), argument))


def calling(address: str, clock: Clock, width: int) -> None:
    caller = Caller(address)
    answers: SimpleQueue[tuple[object, str]] = SimpleQueue()
    free = width
    clock.restart()
    for number, argument in enumerate(clock.arguments()):
        if not free:
            clock.came(*answers.get(timeout=PATIENCE))
            free += 1
        caller.call(number, argument, answers)
        free -= 1
    for _ in range(width - free):
        clock.came(*answers.get(timeout=PATIENCE))


def one(address: str, clock: Clock) -> None:
    calling(address, clock, 1)


def flight(address: str, clock: Clock) -> None:
    calling(address, clock, FLIGHT)


if __name__ == "__main__":
    main(serve, {"one": one, "flight": flight})
