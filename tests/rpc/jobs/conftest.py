"""Queues of a test's own, and both faces behind the same blocking verbs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

import rpc.jobs
import rpc.jobs.aio
from rpc.blocking.loop import Loop
from rpc.jobs import Inbox, Message, Progress, Status
from tests.peers.proxy import Proxy
from tests.processes import PATIENCE

_numbers = count(1)


class Sent:
    """A sent message of the asyncio face."""

    def __init__(self, loop: Loop, sent: rpc.jobs.aio.SentMessage) -> None:
        self.id = sent.id
        self._loop = loop
        self._sent = sent

    @property
    def status(self) -> Status:
        return self.progress().status

    def progress(self) -> Progress:
        told: Progress = self._loop.run(self._sent.progress()).result(PATIENCE)
        return told

    def wait(self, timeout: float | None = None) -> Status:
        end: Status = self._loop.run(self._sent.wait(timeout)).result(PATIENCE)
        return end


class AioSender:
    """A sender of the asyncio face, for tests that wait."""

    def __init__(self, url: str, **options: Any) -> None:
        self._loop = Loop()
        self._sender = rpc.jobs.aio.Sender(url, **options)

    def send(self, *arguments: Any, **options: Any) -> Sent:
        sent = self._loop.run(self._sender.send(*arguments, **options)).result(PATIENCE)
        return Sent(self._loop, sent)

    def multicast(self, *arguments: Any, **options: Any) -> Sent:
        sent = self._loop.run(self._sender.multicast(*arguments, **options)).result(PATIENCE)
        return Sent(self._loop, sent)

    def message(self, id: str) -> Sent:
        return Sent(self._loop, self._sender.message(id))

    def close(self) -> None:
        self._loop.run(self._sender.close()).result(PATIENCE)
        self._loop.close()


AnySender = rpc.jobs.Sender | AioSender
MakeSender = Callable[..., AnySender]
Read = Callable[..., Message]


@pytest.fixture
def queue() -> str:
    """Return the destination of a queue that nobody else uses."""
    return f"/queue/jobs.{next(_numbers)}"


@pytest.fixture(params=["blocking", "asyncio"])
def make_sender(request: pytest.FixtureRequest) -> Iterator[MakeSender]:
    """Return a function that makes a sender of either face."""
    made: list[AnySender] = []

    def make(url: str, **options: Any) -> AnySender:
        kind = rpc.jobs.Sender if request.param == "blocking" else AioSender
        made.append(kind(url, **options))
        return made[-1]

    yield make
    for sender in made:
        sender.close()


@pytest.fixture
def sender(make_sender: MakeSender, broker_url: str) -> AnySender:
    """Return a sender of either face, to the broker of all."""
    return make_sender(broker_url)


@pytest.fixture
def read(broker_url: str) -> Read:
    """Return a function that takes one message of a queue, says a word of it, and leaves."""

    def one(queue: str, word: str = "processed", *arguments: Any) -> Message:
        for message in Inbox(broker_url, queue):
            getattr(message, word)(*arguments)
            return message
        raise AssertionError("stopped")

    return one


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """Return a way to a broker whose port stays the same, whichever broker is behind it."""
    made = Proxy()
    yield made
    made.close()
