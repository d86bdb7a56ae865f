"""Each fault, and what calls make of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

import rpc
from rpc.testing import Broker, Passage, Worker

DAY = 86_400.0


@pytest.fixture
def runs() -> list[Any]:
    """Return what was run."""
    return []


@pytest.fixture
def worker(broker: Broker, runs: list[Any]) -> Worker:
    worker = broker.worker("shop")

    @worker.method
    def sell(what: str) -> str:
        runs.append(what)
        return what

    @worker.method(idempotent=True)
    def once(what: str) -> str:
        return sell(what)

    @worker.method(delivery="at-most-once")
    def most(what: str) -> str:
        return sell(what)

    @worker.method
    def count(last: int) -> Iterator[int]:
        yield from range(last)

    return worker


@pytest.fixture
def client(broker: Broker, worker: Worker) -> rpc.Client:
    return broker.client("shop")


def struck(broker: Broker) -> list[tuple[str, str]]:
    return [(passage.fault, passage.what) for passage in broker.trace if passage.fault]


# --- drop ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "ran"), [("request", 0), ("delivery", 0), ("reply", 1), ("answer", 1)]
)
def test_what_vanishes_is_waited_for_in_vain(
    broker: Broker, client: rpc.Client, runs: list[Any], what: str, ran: int
) -> None:
    rule = broker.faults.drop(what)
    with pytest.raises(rpc.Timeout):
        client.call("sell", "tea", timeout=5)
    assert broker.clock.seconds() == 5
    assert len(runs) == ran
    assert rule.struck == 1
    assert struck(broker) == [("drop", what)]
    assert client.call("sell", "milk") == "milk"


def test_a_lost_delivery_comes_again_over_the_next_connection(
    broker: Broker, client: rpc.Client, runs: list[Any]
) -> None:
    broker.faults.drop("delivery")
    future = client.submit("sell", "tea")
    broker.clock.advance(1)
    assert runs == []
    broker.disconnect("worker-1")
    assert future.result() == "tea"
    assert runs == ["tea"]


@pytest.mark.parametrize(("method", "ran"), [("sell", 2), ("once", 1)])
def test_a_lost_acknowledgement_lets_a_call_run_twice_unless_it_is_idempotent(
    broker: Broker, client: rpc.Client, runs: list[Any], method: str, ran: int
) -> None:
    broker.faults.drop("ack")
    assert client.call(method, "tea") == "tea"
    broker.disconnect("worker-1")
    broker.clock.advance(1)
    assert runs == ["tea"] * ran
    assert client.stats().late == 1  # the second reply


def test_at_most_once_is_lost_with_its_reply(
    broker: Broker, client: rpc.Client, runs: list[Any]
) -> None:
    broker.faults.disconnect("reply")
    with pytest.raises(rpc.Timeout):
        client.call("most", "tea")
    assert runs == ["tea"]
    assert broker.messages("/queue/rpc.shop") == []
    broker.faults.disconnect("reply")
    assert client.call("sell", "milk") == "milk"  # at least once
    assert runs == ["tea", "milk", "milk"]


def test_which_frames(broker: Broker, client: rpc.Client, runs: list[Any]) -> None:
    faults = broker.faults
    faults.drop("request", method="sell", after=1, times=2)
    impatient = client.options(timeout=1)
    for what in ("tea", "milk", "sugar", "salt"):
        try:
            impatient.call("sell", what)
        except rpc.Timeout:
            impatient.call("once", "no " + what)
    assert runs == ["tea", "no milk", "no sugar", "salt"]

    def is_large(passage: Passage) -> bool:
        return passage.headers["content-type"] == "application/json" and b"large" in passage.body

    rule = faults.drop(when=is_large, times=None)
    for _ in range(3):
        with pytest.raises(rpc.Timeout):
            impatient.call("sell", "large")
    assert impatient.call("sell", "small") == "small"
    assert rule.struck == 3
    rule.cancel()
    assert impatient.call("sell", "large") == "large"
    faults.drop(times=None)
    faults.clear()
    assert impatient.call("sell", "large") == "large"
    faults.drop("reply", method="once")
    assert impatient.call("sell", "tea") == "tea"
    with pytest.raises(rpc.Timeout):
        impatient.call("once", "tea")


def test_a_batch_is_about_all_its_methods(broker: Broker, client: rpc.Client) -> None:
    broker.faults.drop("reply", method="sell")
    with pytest.raises(rpc.Timeout):
        list(client.map("sell", ["tea", "milk"]))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda faults: faults.drop("requests"),
        lambda faults: faults.delay("reply", 0),
        lambda faults: faults.delay("reply", -1),
    ],
)
def test_what_makes_no_sense(broker: Broker, wrong: Callable[[Any], None]) -> None:
    with pytest.raises(ValueError, match=r"there are: request|positive"):
        wrong(broker.faults)


def test_a_stream_that_lost_an_item_is_broken(broker: Broker, client: rpc.Client) -> None:
    broker.faults.drop("answer", after=2)
    items = client.stream("count", 5)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(rpc.StreamBroken, match="it should be item 2, and is 3"):
        next(items)


def test_credit_that_is_lost_stops_a_stream(broker: Broker, client: rpc.Client) -> None:
    broker.faults.drop("control", times=None)
    items = client.options(credit=2, timeout=10).stream("count", 5)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(rpc.Timeout):
        list(items)


def test_a_receipt_that_is_lost(broker: Broker, client: rpc.Client, runs: list[Any]) -> None:
    client.connect()
    broker.faults.drop("receipt")
    with pytest.raises(rpc.Timeout):
        client.notify("sell", "tea", timeout=3)
    assert runs == ["tea"]


def test_a_handshake_that_is_lost(broker: Broker, client: rpc.Client) -> None:
    broker.faults.drop("link", when=lambda passage: passage.party == "client-1")
    with pytest.raises(rpc.ConnectionLost) as caught:
        client.call("sell", "tea")
    assert not caught.value.sent
    assert broker.clock.seconds() == 10  # connect_timeout
    assert client.call("sell", "tea") == "tea"
    other = broker.client("shop")
    broker.faults.drop("link", when=lambda passage: passage.party == "client-2")
    with pytest.raises(rpc.ConnectionLost, match="did not answer in time"):
        other.call("sell", "tea", timeout=3)
    assert broker.clock.seconds() == 13


# --- duplicate ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["request", "delivery"])
@pytest.mark.parametrize(("method", "ran"), [("once", 1), ("most", 2)])
def test_a_call_that_comes_twice_is_run_once_if_it_is_idempotent(
    broker: Broker, client: rpc.Client, runs: list[Any], what: str, method: str, ran: int
) -> None:
    broker.faults.duplicate(what)
    assert client.call(method, "tea") == "tea"
    broker.clock.advance(1)
    assert len(runs) <= ran
    if method == "once":
        assert runs == ["tea"]


def test_a_notification_that_names_itself_is_kept_once(
    broker: Broker, client: rpc.Client, runs: list[Any]
) -> None:
    broker.faults.duplicate("request")
    client.options(on_loss="resend").notify("sell", "tea")
    broker.clock.advance(1)
    assert runs == ["tea"]
    assert [passage.what for passage in broker.trace].count("delivery") == 1


def test_a_call_whose_reply_was_lost_is_sent_and_answered_again(
    broker: Broker, client: rpc.Client, runs: list[Any]
) -> None:
    """Its function is idempotent: it was run once."""
    broker.faults.disconnect("answer")
    assert client.options(on_loss="resend").call("once", "tea") == "tea"
    assert runs == ["tea"]


@pytest.mark.parametrize("what", ["reply", "answer"])
def test_a_second_reply_is_late(broker: Broker, client: rpc.Client, what: str) -> None:
    broker.faults.duplicate(what)
    assert client.call("sell", "tea") == "tea"
    broker.clock.advance(0)
    assert client.stats().late == 1
    assert client.call("sell", "milk") == "milk"


# --- delay --------------------------------------------------------------------------------------------


def test_a_reply_that_comes_late(broker: Broker, client: rpc.Client, runs: list[Any]) -> None:
    broker.faults.delay("answer", 40)
    with pytest.raises(rpc.Timeout):
        client.call("sell", "tea", timeout=30)
    assert client.stats().late == 0
    broker.clock.advance(10)
    assert client.stats().late == 1
    assert broker.clock.seconds() == 40


def test_a_request_that_comes_late_is_not_run(
    broker: Broker, client: rpc.Client, runs: list[Any]
) -> None:
    broker.faults.delay("request", 40)
    with pytest.raises(rpc.Timeout):
        client.call("sell", "tea", timeout=30)
    broker.clock.advance(DAY)
    assert runs == []


def test_what_is_behind_waits_too_and_keeps_its_order(
    broker: Broker, client: rpc.Client, runs: list[Any]
) -> None:
    other = broker.client("shop")
    broker.faults.delay("request", 3)
    futures = [client.submit("sell", what) for what in ("tea", "milk")]
    assert other.call("sell", "salt") == "salt"
    assert broker.clock.seconds() == 0
    broker.clock.advance(1)
    futures.append(client.submit("sell", "sugar"))
    assert [future.result() for future in futures] == ["tea", "milk", "sugar"]
    assert broker.clock.seconds() == 3
    assert runs == ["salt", "tea", "milk", "sugar"]


# --- disconnect ---------------------------------------------------------------------------------------


def test_a_connection_that_breaks_with_a_request(
    broker: Broker, client: rpc.Client, runs: list[Any]
) -> None:
    client.connect()
    broker.faults.disconnect("request")
    with pytest.raises(rpc.ConnectionLost) as caught:
        client.call("sell", "tea")
    assert caught.value.sent
    assert runs == []
    assert client.call("sell", "milk") == "milk"
    assert client.stats().connections == 2


@pytest.mark.parametrize("what", ["request", "reply"])
@pytest.mark.parametrize("on_loss", ["resend", "wait"])
def test_what_outlives_a_connection(
    broker: Broker, client: rpc.Client, runs: list[Any], what: str, on_loss: Any
) -> None:
    """A request that is lost on its way is gone if it is only waited for; all else comes to an end."""
    client.connect()
    broker.faults.disconnect(what)
    patient = client.options(on_loss=on_loss, timeout=60)
    if (what, on_loss) == ("request", "wait"):
        with pytest.raises(rpc.Timeout):
            patient.call("once", "tea")
        return
    assert patient.call("once", "tea") == "tea"
    assert runs == ["tea"]
    if what != "reply":
        assert 0.05 <= broker.clock.seconds() <= 0.1  # the first back-off


def test_all_connections_break(broker: Broker, client: rpc.Client, runs: list[Any]) -> None:
    @broker.worker("slow").method
    async def slow() -> str:
        await asyncio.sleep(1)
        return "slow"

    calls = broker.client("slow").options(on_loss="wait")
    future = calls.submit("slow")
    broker.clock.advance(0.5)
    broker.disconnect()
    assert future.result() == "slow"
    assert 1 <= broker.clock.seconds() < 1.2


# --- restart ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("what", ["request", "delivery", "reply", "ack"])
def test_a_broker_that_restarts_in_the_middle_of_a_call(
    broker: Broker, client: rpc.Client, runs: list[Any], what: str, killed: bool
) -> None:
    """The call is sent again, kept once, and run once."""
    patient = client.options(on_loss="resend", timeout=60)
    broker.faults.restart(what, down=5, killed=killed)
    assert patient.call("once", "tea") == "tea"
    broker.clock.advance(30)
    assert runs == ["tea"]
    assert broker.messages("/queue/rpc.shop") == []


def test_a_broker_that_is_down(broker: Broker, client: rpc.Client) -> None:
    client.connect()
    broker.restart(down=20)
    broker.clock.advance(0)
    with pytest.raises(rpc.ConnectionLost) as caught:
        client.call("sell", "tea")
    assert not caught.value.sent
    with pytest.raises(RuntimeError, match="not running"):
        broker.messages("/queue/rpc.shop")
    broker.clock.advance(30)
    assert client.call("sell", "tea") == "tea"
    broker.stop()
    broker.stop()
    broker.clock.advance(0)
    with pytest.raises(rpc.ConnectionLost):
        client.call("sell", "tea")
    broker.start()
    assert client.call("sell", "tea") == "tea"


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("durable", [False, True])
def test_what_a_restart_leaves(killed: bool, durable: bool) -> None:
    """Nobody is promised anything about what is not durable; in order, it is lost as well."""
    with Broker() as broker:
        client = broker.client("shop", durable=durable)
        client.notify("sell", "tea")
        broker.restart(killed=killed)
        assert len(broker.messages("/queue/rpc.shop")) == durable
        worker, runs = broker.worker("shop"), list[str]()
        worker.method(runs.append, name="sell")
        broker.clock.advance(1)
        assert runs == ["tea"] * durable


# --- dead letters -------------------------------------------------------------------------------------


def test_retries_to_the_dead_letters(broker: Broker) -> None:
    worker, attempts = broker.worker("shop"), list[tuple[float, int]]()

    @worker.method(retries=3, retry_delay=60.0)
    def fails() -> None:
        attempts.append((round(broker.clock.seconds(), 3), rpc.current().attempt))
        raise LookupError("no tea")

    with pytest.raises(rpc.RemoteError, match="no tea"):
        broker.client("shop").call("fails", timeout=DAY)
    at = [moment for moment, _ in attempts]
    assert [attempt for _, attempt in attempts] == [1, 2, 3, 4]
    assert [round(second - first) for first, second in pairwise(at)] == [
        60,
        120,
        240,
    ]
    broker.clock.advance(1)
    (letter,) = broker.messages("/queue/ActiveMQ.DLQ")
    assert b"fails" in letter.body
    assert broker.messages("/queue/rpc.shop") == []


def test_settings_of_the_broker() -> None:
    with Broker(config='[destination."rpc.>"]\ndead_letter_queue = "dead.{name}"') as broker:
        worker = broker.worker("shop")

        @worker.method(retries=1, retry_delay=1.0)
        def fails() -> None:
            raise LookupError

        with pytest.raises(rpc.RemoteError):
            broker.client("shop").call("fails")
        broker.clock.advance(0)
        assert len(broker.messages("/queue/dead.rpc.shop")) == 1
