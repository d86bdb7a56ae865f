"""What all faces share: calls, failures and reconnection, the same for threads, asyncio and Twisted."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rpc
from tests.harness import Client
from tests.rpc.faces import FACES, Face
from tests.rpc.processes import PATIENCE, BrokerProcess, WorkerProcess
from tests.scenarios.steps import put

SOURCE = """
runs = []
@worker.method
def whee(argument):
    return {"Whee": 123}
@worker.method
def echo(value):
    return value
@worker.method
def fails(text):
    raise LookupError(text)
@worker.method
def slow(seconds):
    time.sleep(seconds)
    return "slept"
@worker.method
def once(value):
    runs.append(value)
    return runs.count(value)
@worker.method
def told(value):
    say("told", value)
"""


@pytest.fixture(params=list(FACES))
def face(request: pytest.FixtureRequest) -> Callable[..., Face]:
    """Return what makes a client of one face; the test is run with each."""
    return FACES[request.param]


@pytest.fixture(scope="module")
def served(broker_url: str) -> Iterator[str]:
    """Return the name of a service that a worker of its own process serves."""
    service = f"faces-{uuid.uuid4().hex[:8]}"
    with WorkerProcess(broker_url, service, SOURCE, concurrency=32):
        yield service


@pytest.fixture
def service() -> str:
    """Return a service's name of the test's own."""
    return f"faces-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def client(face: Callable[..., Face], broker_url: str, served: str) -> Iterator[Face]:
    with face(broker_url, served) as client:
        yield client


def outcome(pending: Any) -> Any:
    """Return what a call gave, or the error that it ended with."""
    try:
        return pending.result(PATIENCE)
    except rpc.RpcError as error:
        return error


# Calls and results


def test_the_demonstration(client: Face) -> None:
    assert client.call("whee", "Hello", timeout=5) == {"Whee": 123}
    assert client.call("whee", argument="Hello") == {"Whee": 123}
    assert client.through_proxy("whee", "Hello") == {"Whee": 123}


@pytest.mark.parametrize(
    "value", [None, "grüß 🐎 \x00 \r\n :\\", [1, {"a": [True, 1.5]}], "\ud800"]
)
def test_values_come_back_as_they_went(client: Face, value: Any) -> None:
    assert client.call("echo", value) == value


def test_a_large_argument(client: Face) -> None:
    large = "x" * 3_000_000
    assert client.call("echo", large) == large


def test_many_calls_under_way(client: Face) -> None:
    """Each gets its own answer, in whatever order they are asked for."""
    calls = [client.submit("echo", n) for n in range(500)]
    assert [call.result(PATIENCE) for call in reversed(calls)] == list(range(499, -1, -1))
    assert client.stats().pending == 0


def test_a_slow_call_does_not_hold_up_others(client: Face) -> None:
    slow = client.submit("slow", 0.3)
    assert client.call("echo", 1) == 1
    assert slow.result(PATIENCE) == "slept"


def test_a_notification_is_safe_once_the_broker_has_it(
    face: Callable[..., Face], service: str, tmp_path: Path
) -> None:
    """Nobody waits for its worker: it comes later, even to a broker that has been killed meanwhile."""
    store = f"lmdb:{tmp_path / 'data'}"
    with BrokerProcess(store=store) as broker:
        with face(broker.url, service) as client:
            assert client.notify("told", "first") is None
            with pytest.raises(TypeError, match="by position or by name"):
                client.notify("told", 1, value=1)
        broker.kill()
        with (
            BrokerProcess(broker.port, store),
            WorkerProcess(broker.url, service, SOURCE) as worker,
            face(broker.url, service) as client,
        ):
            if "told first" not in worker.lines:  # it may have been faster than "ready"
                worker.wait_for_line("^told first$")
            client.notify("told", value="second")
            worker.wait_for_line("^told second$")
            assert client.stats().late == 0


# Failures


def test_what_the_worker_answers_with_an_error(client: Face) -> None:
    with pytest.raises(rpc.MethodNotFound, match="nothing"):
        client.call("nothing")
    with pytest.raises(rpc.InvalidParams, match="whee"):
        client.call("whee")
    with pytest.raises(rpc.RemoteError, match="LookupError: gone") as caught:
        client.call("fails", "gone")
    assert (caught.value.type, caught.value.message) == ("LookupError", "gone")


def test_what_cannot_be_sent_is_the_callers_own_error(client: Face) -> None:
    with pytest.raises(TypeError, match="object"):
        client.call("echo", object())
    with pytest.raises(TypeError, match="by position or by name"):
        client.call("echo", 1, value=1)
    refused: list[dict[str, Any]] = [
        {"timeout": 0},
        {"on_loss": "hope"},
        {"no_worker": "?"},
        {"headers": {"receipt": "1"}},
        {"headers": {"stream-credit": "1"}},
        {"codec": "pickle"},
        {"priority": 10},
        {"credit": 0},
    ]
    for wrong in refused:
        with pytest.raises(ValueError, match=next(iter(wrong.get("headers", wrong)))):
            client.options(**wrong)
    with pytest.raises(TypeError, match="colour"):
        client.options(colour="red")
    assert client.stats().calls == 0


def test_nobody_answers_in_time(client: Face) -> None:
    with pytest.raises(rpc.Timeout, match=r"'slow' within 0.1 s"):
        client.call("slow", 0.5, timeout=0.1)
    assert client.call("slow", 0.5) == "slept"
    assert client.stats().pending == 0


def test_no_worker_is_told_at_once(
    face: Callable[..., Face], broker_url: str, service: str
) -> None:
    with face(broker_url, service) as client:
        with pytest.raises(rpc.ServiceUnavailable, match=service):
            client.options(no_worker="fail").call("whee", "Hello")
        with pytest.raises(rpc.Timeout):
            client.call("whee", "Hello", timeout=0.1)


def test_a_call_that_waits_for_its_worker(
    face: Callable[..., Face], broker_url: str, service: str
) -> None:
    with face(broker_url, service) as client:
        waiting = client.submit("whee", "Hello")
        with WorkerProcess(broker_url, service, SOURCE):
            assert waiting.result(PATIENCE) == {"Whee": 123}
            assert client.options(no_worker="fail").call("whee", "Hello") == {"Whee": 123}


def test_a_call_that_nobody_waits_for_any_more(client: Face) -> None:
    assert client.call("echo", 1) == 1
    call = client.submit("slow", 0.2)
    assert client.call("echo", 2) == 2  # by then the first has left
    call.cancel()
    assert client.call("slow", 0.4) == "slept"
    assert (client.stats().pending, client.stats().late) == (0, 1)


# The connection


def test_nobody_listens(face: Callable[..., Face], service: str) -> None:
    with face("stomp://127.0.0.1:1", service) as client:
        for _ in range(2):
            with pytest.raises(rpc.ConnectionLost, match=r"127\.0\.0\.1:1") as caught:
                client.call("whee", "Hello", timeout=5)
            assert not caught.value.sent
        with pytest.raises(rpc.ConnectionLost):
            client.connect()


def test_closing_ends_the_calls(face: Callable[..., Face], broker_url: str, service: str) -> None:
    client = face(broker_url, service)
    client.connect()
    pending = client.submit("whee", "Hello")
    client.close()
    client.close()
    assert isinstance(outcome(pending), rpc.ConnectionLost)
    with pytest.raises(rpc.ConnectionLost, match="closed"):
        client.call("whee", "Hello")


def test_the_broker_dies_under_calls(
    face: Callable[..., Face], service: str, tmp_path: Path
) -> None:
    """Each call ends as its caller chose: failed, waited for, or sent again. None hangs."""
    store = f"lmdb:{tmp_path / 'data'}"
    with BrokerProcess(store=store) as broker, face(broker.url, service) as client:
        fails = [client.submit("once", f"a{n}") for n in range(100)]
        again = [client.options(on_loss="resend").submit("once", f"b{n}") for n in range(100)]
        waits = [client.options(on_loss="wait").submit("once", f"c{n}") for n in range(100)]
        while client.stats().connections == 0:
            pass
        with pytest.raises(rpc.ServiceUnavailable):  # then the broker has got what was before it
            client.options(no_worker="fail").call("once", "is it there?")
        with Client(broker.port) as other:  # and when it has confirmed this, that is on disk too
            put(other, "/queue/other", b"")
        broker.kill()
        lost = [outcome(call) for call in fails]
        assert all(isinstance(each, rpc.ConnectionLost) and each.sent for each in lost), lost
        with BrokerProcess(broker.port, store), WorkerProcess(broker.url, service, SOURCE):
            assert [outcome(call) for call in again] == [1] * 100
            known = [outcome(call) for call in waits]
            assert known == [1] * 100
            assert client.stats().connections == 2
