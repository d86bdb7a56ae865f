"""`Client.submit`: calls as `concurrent.futures` knows them."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, as_completed, wait
from time import monotonic
from typing import Any

import pytest

import rpc
from rpc.blocking.line import Line
from tests.processes import PATIENCE, WorkerProcess
from tests.rpc.foreign import ForeignWorker

SOURCE = """
@worker.method
def echo(value):
    return value
@worker.method
def slow(seconds):
    time.sleep(seconds)
    return seconds
@worker.method
def fails():
    raise LookupError("gone")
"""


@pytest.fixture(scope="module")
def served(broker_url: str) -> Iterator[str]:
    """Return the name of a service that a worker of its own process serves."""
    service = f"futures-{uuid.uuid4().hex[:8]}"
    with WorkerProcess(broker_url, service, SOURCE, concurrency=16):
        yield service


@pytest.fixture
def client(broker_url: str, served: str) -> Iterator[rpc.Client]:
    with rpc.Client(broker_url, served) as client:
        yield client


def test_results_and_failures(client: rpc.Client) -> None:
    assert client.submit("echo", 1).result() == 1
    failing = client.submit("fails")
    assert isinstance(failing.exception(PATIENCE), rpc.RemoteError)
    with pytest.raises(rpc.RemoteError, match="gone"):
        failing.result()


def test_one_after_the_other_and_many_at_once(client: rpc.Client) -> None:
    for n in range(50):
        assert client.submit("echo", n).result(PATIENCE) == n
    futures = [client.submit("echo", n) for n in range(300)]
    assert [future.result(PATIENCE) for future in futures] == list(range(300))


def test_waiting_for_several(client: rpc.Client) -> None:
    """Nobody asks any of them for its result: they are done all the same."""
    futures = [client.submit("echo", n) for n in range(20)]
    done, pending = wait(futures, PATIENCE)
    assert (len(done), len(pending)) == (20, 0)
    slow = [client.submit("slow", seconds) for seconds in (0.3, 0.1)]
    assert [future.result() for future in as_completed(slow, PATIENCE)] == [0.1, 0.3]


def test_being_called_back(client: rpc.Client) -> None:
    called: list[Any] = []
    told = threading.Event()

    def note(future: Future[Any]) -> None:
        called.append(future.result())
        told.set()

    client.submit("echo", "back").add_done_callback(note)
    assert told.wait(PATIENCE)
    assert called == ["back"]


def test_from_asyncio(client: rpc.Client) -> None:
    async def ask() -> Any:
        return await asyncio.wait_for(asyncio.wrap_future(client.submit("echo", 7)), PATIENCE)

    assert asyncio.run(ask()) == 7


def test_several_threads_wait_for_one_call(client: rpc.Client) -> None:
    future = client.submit("slow", 0.2)
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.append(future.result(PATIENCE))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [0.2] * 5


def test_waiting_no_longer_than_asked(client: rpc.Client) -> None:
    """The call itself goes on."""
    future = client.submit("slow", 0.3)
    with pytest.raises(TimeoutError):
        future.result(0.05)
    assert future.result(PATIENCE) == 0.3


def test_cancelling(client: rpc.Client) -> None:
    future = client.submit("slow", 0.1)
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result(PATIENCE)
    assert wait([future], PATIENCE).done == {future}
    assert future.cancel()
    assert client.stats().pending == 0
    done = client.submit("echo", 1)
    assert done.result(PATIENCE) == 1
    assert not done.cancel()


def test_cancelling_at_the_moment_at_which_the_reply_comes(client: rpc.Client) -> None:
    future = client.submit("slow", 0.1)
    assert future.cancel()
    future.settle()  # by the thread that has read it
    with pytest.raises(CancelledError):
        future.result(PATIENCE)
    assert wait([future], PATIENCE).done == {future}


# Given up


@pytest.fixture
def service() -> str:
    """Return a service's name of the test's own."""
    return f"futures-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def foreign(broker_url: str, service: str) -> Iterator[ForeignWorker]:
    with ForeignWorker(broker_url, service) as worker:
        yield worker


def test_an_interrupted_call_is_cancelled_at_its_worker(
    broker_url: str, service: str, foreign: ForeignWorker
) -> None:
    asked: list[str] = []
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        asked.append(foreign.asked.get(timeout=PATIENCE).headers["correlation-id"])
        deadline = monotonic() + PATIENCE
        while line._leader is None and monotonic() < deadline:
            pass  # the worker may have the call before its caller waits
        signal.pthread_kill(main, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    with rpc.Client(broker_url, service) as client:
        line: Any = client._line
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            client.call("hang")
        interrupter.join(PATIENCE)
        assert foreign.hear("rpc.cancel") == {"id": asked[0]}
        assert client.call("echo", 1) == 1


def test_a_stream_in_a_circle_of_garbage_is_cancelled(
    broker_url: str, service: str, foreign: ForeignWorker
) -> None:
    with rpc.Client(broker_url, service) as client:
        circle: list[Any] = [client.stream("endless")]
        circle.append(circle)
        assert next(circle[0]) == 0
        del circle
        gc.collect()
        assert foreign.hear("rpc.cancel")


def test_garbage_that_is_found_in_the_middle_of_something(
    broker_url: str, service: str, foreign: ForeignWorker
) -> None:
    """A finalizer may run while its own thread has the client's locks: it must not wait for them."""
    with rpc.Client(broker_url, service) as client:
        line = client._line
        client.connect()
        assert isinstance(line, Line)
        assert line._wire is not None
        for mutex in (line._mutex, line._wire.stream._mutex):
            stream: Any = client.stream("endless")
            assert next(stream) == 0
            with mutex:
                del stream
            assert client.call("echo", 1) == 1
            assert foreign.hear("rpc.cancel")
        assert client.stats().pending == 0
