"""What all faces share: calls, failures and reconnection, the same for threads, asyncio and Twisted."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import rpc
from tests.harness import Client
from tests.processes import PATIENCE, BrokerProcess, WorkerProcess
from tests.rpc.faces import DIALLING, FACES, Face
from tests.rpc.foreign import ForeignWorker
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
@worker.method
def rows(count):
    yield from range(count)
@worker.method
def breaks():
    yield 1
    raise LookupError("gone")
@worker.method
def endless():
    try:
        yield from iter(int, 1)
    finally:
        say("closed")
@worker.method
def patient():
    from rpc.context import current
    say("waiting")
    while not current().cancelled:
        time.sleep(0.01)
    say("cancelled")
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
    """Its worker is told, and does not reply."""
    assert client.call("echo", 1) == 1
    call = client.submit("slow", 0.2)
    assert client.call("echo", 2) == 2  # by then the first has left
    call.cancel()
    assert client.call("slow", 0.4) == "slept"
    assert (client.stats().pending, client.stats().late) == (0, 0)


# Many calls in batches


@pytest.fixture
def foreign(broker_url: str, service: str) -> Iterator[ForeignWorker]:
    with ForeignWorker(broker_url, service) as worker:
        yield worker


@pytest.fixture
def caller(
    face: Callable[..., Face], broker_url: str, service: str, foreign: ForeignWorker
) -> Iterator[Face]:
    """Return a client whose only worker is one of another language."""
    assert foreign.name
    with face(broker_url, service) as client:
        yield client


@pytest.mark.parametrize("codec", ["json", "msgpack"])
@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 1234])
def test_mapping_over_many(caller: Face, codec: str, count: int) -> None:
    assert list(caller.options(codec=codec).map("echo", range(count))) == list(range(count))
    assert caller.stats().pending == 0
    assert caller.stats().calls == (count + 99) // 100


def test_mapping_over_two(caller: Face) -> None:
    assert list(caller.map("add", range(5), [10, 20, 30], batch=2)) == [10, 21, 32]


def test_no_more_is_read_than_is_under_way(caller: Face) -> None:
    numbers = count()
    results = caller.map("echo", numbers, batch=10, ahead=2)
    assert [next(results) for _ in range(10)] == list(range(10))
    assert next(numbers) == 30  # the first came, two are under way
    results.close()
    assert caller.call("echo", 1) == 1  # with the next call at the latest they are dropped
    assert caller.stats().pending == 0


def test_an_error_is_raised_when_its_place_is_reached(caller: Face) -> None:
    values = [1, 2, "fails", 4]
    results = caller.map("check", values, batch=3)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(rpc.RemoteError, match="gone"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    results = caller.map("check", values, return_errors=True)
    assert [type(each) for each in results] == [int, int, rpc.RemoteError, int]


def test_an_argument_that_cannot_be_sent_ends_the_map_in_its_place(caller: Face) -> None:
    results = caller.map("echo", [1, 2, object(), 4])
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(TypeError, match="object"):
        next(results)


def test_a_batch_that_nobody_answers(caller: Face) -> None:
    with pytest.raises(rpc.Timeout, match=r"'hang' within 0.1 s"):
        next(caller.map("hang", [1, 2], timeout=0.1))
    errors = list(caller.map("hang", [1, 2], return_errors=True, timeout=0.1))
    assert [type(each) for each in errors] == [rpc.Timeout] * 2
    for wrong in ({"batch": 0}, {"batch": 10_001}, {"ahead": 0}):
        with pytest.raises(ValueError, match=r"1 to 10000|positive"):
            caller.map("echo", [1], **wrong)


def test_a_map_that_is_left_early_cancels_what_is_under_way(
    caller: Face, foreign: ForeignWorker
) -> None:
    results = caller.map("echo", ["first", "hang", "hang"], batch=1)
    assert next(results) == "first"
    sent = [foreign.asked.get(timeout=PATIENCE).headers["correlation-id"] for _ in range(3)]
    results.close()
    assert [foreign.hear("rpc.cancel")["id"] for _ in range(2)] == sent[1:]
    assert caller.call("echo", 1) == 1
    assert foreign.told.empty()
    assert caller.stats().pending == 0


def test_mapping_with_our_own_worker(client: Face) -> None:
    for codec in ("json", "msgpack"):
        results = client.options(codec=codec).map("echo", range(1001))
        assert list(results) == list(range(1001))
    with pytest.raises(rpc.RemoteError, match="LookupError: gone"):
        next(client.map("fails", ["gone"]))


# All workers


def test_our_own_workers_answer_all(
    face: Callable[..., Face], broker_url: str, service: str
) -> None:
    with (
        WorkerProcess(broker_url, service, SOURCE),
        WorkerProcess(broker_url, service, SOURCE),
        face(broker_url, service) as client,
    ):
        answers = client.broadcast("echo", 7, first=2, timeout=PATIENCE)
        assert [answer.result() for answer in answers] == [7, 7]
        assert len({answer.worker for answer in answers}) == 2
        for answer in client.broadcast("fails", "gone", timeout=0.5):
            with pytest.raises(rpc.RemoteError, match="gone"):
                answer.result()


def test_every_worker_answers(caller: Face, broker_url: str, service: str) -> None:
    with ForeignWorker(broker_url, service, "second"):
        answers = caller.broadcast("echo", 7, first=2, timeout=PATIENCE)
        assert {answer.worker: answer.result() for answer in answers} == {"foreign": 7, "second": 7}
        assert len(caller.broadcast("echo", 7, first=1, timeout=PATIENCE)) == 1
        all_of_them = caller.options(codec="msgpack").broadcast("fails", timeout=0.5)
        assert len(all_of_them) == 2
        for answer in all_of_them:
            with pytest.raises(rpc.RemoteError, match="gone"):
                answer.result()
    assert [answer.worker for answer in caller.broadcast("echo", 7, first=9, timeout=0.3)] == [
        "foreign"
    ]
    assert caller.broadcast("hang", timeout=0.1) == []
    assert caller.stats().pending == 0


def test_a_broadcast_that_makes_no_sense(caller: Face) -> None:
    with pytest.raises(ValueError, match="positive"):
        caller.broadcast("echo", 1, first=0)
    with pytest.raises(ValueError, match="Nobody knows"):
        caller.broadcast("echo", 1, timeout=None)


# Streams


@pytest.mark.parametrize("codec", ["json", "msgpack"])
@pytest.mark.parametrize("credit", [1, 2, 7, 100])
def test_items_come_in_order_and_end(caller: Face, codec: str, credit: int) -> None:
    patient = caller.options(codec=codec, credit=credit)
    for length in (0, 1, 100):
        assert list(patient.stream("count", length)) == list(range(length))
    assert caller.stats().pending == 0


def test_no_more_items_are_sent_than_asked_for(caller: Face, foreign: ForeignWorker) -> None:
    """Half of the credit is given anew whenever half of it is taken."""
    items = caller.options(credit=10).stream("endless")
    assert [next(items) for _ in range(4)] == [0, 1, 2, 3]
    assert caller.call("echo", 1) == 1  # by now the worker has heard all that was said before
    assert foreign.told.empty()
    assert next(items) == 4
    assert foreign.hear("rpc.credit")["credit"] == 5
    items.close()
    assert foreign.hear("rpc.cancel")
    with pytest.raises(StopIteration):
        next(items)


def test_a_stream_that_fails_on_its_way(caller: Face) -> None:
    items = caller.stream("breaks")
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(rpc.RemoteError, match="gone"):
        next(items)
    with pytest.raises(StopIteration):
        next(items)


@pytest.mark.parametrize(("method", "good"), [("gappy", 2), ("greedy", 10)])
def test_a_stream_that_is_broken_says_so(
    caller: Face, foreign: ForeignWorker, method: str, good: int
) -> None:
    items = caller.options(credit=10).stream(method)
    with pytest.raises(rpc.StreamBroken, match=method):
        assert list(items) == []
    assert foreign.hear("rpc.cancel")
    assert caller.call("echo", good) == good


def test_an_ordinary_reply_is_a_stream_of_one(caller: Face) -> None:
    assert list(caller.stream("echo", "one")) == ["one"]
    with pytest.raises(rpc.RemoteError, match="gone"):
        next(caller.stream("fails"))


def test_an_item_that_does_not_come_in_time(caller: Face, foreign: ForeignWorker) -> None:
    items = caller.stream("hang", timeout=0.1)
    with pytest.raises(rpc.Timeout, match=r"No item of 'hang' within 0.1 s"):
        next(items)
    assert foreign.hear("rpc.cancel")  # its `expires` does not tell it


def test_a_loop_that_is_left_early_lets_the_worker_stop(
    caller: Face, foreign: ForeignWorker
) -> None:
    assert caller.taken(3, "endless") == [0, 1, 2]
    assert foreign.hear("rpc.cancel")
    assert caller.stats().pending == 0


def test_a_lost_connection_ends_a_stream(face: Callable[..., Face], service: str) -> None:
    with BrokerProcess() as broker, face(broker.url, service) as client:
        with ForeignWorker(broker.url, service):
            items = client.options(on_loss="resend", credit=2).stream("endless")
            assert next(items) == 0
            broker.kill()
        with pytest.raises(rpc.ConnectionLost) as caught:
            list(items)
        assert caught.value.sent


def test_a_stream_nobody_can_serve(
    face: Callable[..., Face], broker_url: str, service: str
) -> None:
    with face(broker_url, service) as client, pytest.raises(rpc.ServiceUnavailable, match=service):
        next(client.options(no_worker="fail").stream("count", 1))


def test_streams_of_our_own_worker(client: Face) -> None:
    for codec, credit in (("json", 1), ("msgpack", 10), ("json", 100)):
        items = client.options(codec=codec, credit=credit).stream("rows", 250)
        assert list(items) == list(range(250))
    items = client.stream("breaks")
    assert next(items) == 1
    with pytest.raises(rpc.RemoteError, match="LookupError: gone"):
        next(items)
    assert list(client.stream("echo", "one")) == ["one"]
    assert client.stats().pending == 0


def test_leaving_early_stops_our_own_worker(
    face: Callable[..., Face], broker_url: str, service: str
) -> None:
    with (
        WorkerProcess(broker_url, service, SOURCE) as worker,
        face(broker_url, service) as client,
    ):
        assert client.taken(150, "endless") == [0] * 150
        worker.wait_for_line("^closed$")
        call = client.submit("patient")
        worker.wait_for_line("^waiting$")
        call.cancel()
        worker.wait_for_line("^cancelled$")


def test_a_stream_lasts_longer_than_its_start_may_take(caller: Face) -> None:
    """`timeout` is for each item, while one is waited for; `expires`, which it becomes, for the start."""
    items = caller.options(credit=2).stream("count", 4, timeout=0.3)
    assert next(items) == 0
    with pytest.raises(rpc.Timeout):
        caller.call("hang", timeout=0.4)
    assert list(items) == [1, 2, 3]


# Given up


def test_a_call_that_is_given_up_is_cancelled_at_its_worker(
    caller: Face, foreign: ForeignWorker
) -> None:
    call = caller.submit("hang")
    call_id = foreign.asked.get(timeout=PATIENCE).headers["correlation-id"]
    call.cancel()
    assert foreign.hear("rpc.cancel") == {"id": call_id}


def test_a_call_that_timed_out_is_not_cancelled(caller: Face, foreign: ForeignWorker) -> None:
    with pytest.raises(rpc.Timeout):
        caller.call("hang", timeout=0.1)
    assert caller.call("echo", 1) == 1
    assert foreign.told.empty()


# What travels beside the arguments


def test_headers_that_options_lead_to(caller: Face) -> None:
    plain = caller.call("headers")
    assert {"priority", "idempotency-key", "stream-credit", "traceparent"}.isdisjoint(plain)
    assert (plain["content-type"], plain["persistent"]) == ("application/json", "true")
    told = caller.options(codec="msgpack", priority=7, on_loss="resend").call("headers")
    assert (told["content-type"], told["priority"]) == ("application/msgpack", "7")
    assert told["idempotency-key"] == told["correlation-id"]
    own = caller.options(on_loss="resend", headers={"idempotency-key": "mine"}).call("headers")
    assert own["idempotency-key"] == "mine"


@pytest.mark.parametrize("value", [None, "grüß 🐎", [1, {"a": [True, 1.5]}], b"\x00\xff"])
def test_values_in_messagepack(caller: Face, value: Any) -> None:
    assert caller.options(codec="msgpack").call("echo", value) == value


# The connection


@pytest.mark.parametrize("dialling", DIALLING)
def test_nobody_listens(dialling: str, service: str) -> None:
    with DIALLING[dialling]("stomp://127.0.0.1:1", service) as client:
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
