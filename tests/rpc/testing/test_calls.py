"""What clients and workers do in earnest they do in the test kit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

import rpc
import rpc.aio
import rpc.testing
import rpc.tx
from rpc.testing import Broker, Stuck

URL = "stomp://127.0.0.1:61613"  # of workers that the program has; nobody connects there


def test_a_call(broker: Broker) -> None:
    worker = broker.worker("shop")

    @worker.method
    def price(what: str, count: int = 1) -> int:
        return len(what) * count

    client = broker.client("shop")
    assert isinstance(worker, rpc.Worker)
    assert isinstance(client, rpc.Client)
    assert client.call("price", "tea") == 3
    assert client.call("price", what="tea", count=2) == 6
    assert client.proxy.price("coffee") == 6
    assert client.options(codec="msgpack").call("price", "milk") == 4
    with pytest.raises(rpc.InvalidParams, match="count"):
        client.call("price", "tea", "two")
    with pytest.raises(rpc.MethodNotFound):
        client.call("prize", "tea")
    assert client.stats() == rpc.ClientStats(calls=6, pending=0, late=0, connections=1)
    assert broker.clock.seconds() == 0


def test_what_a_function_raises(broker: Broker) -> None:
    @broker.worker("shop", tracebacks=True).method
    def price(what: str) -> int:
        raise LookupError(what)

    with pytest.raises(rpc.RemoteError, match="tea") as caught:
        broker.client("shop").call("price", "tea")
    assert caught.value.type == "LookupError"


def test_a_function_that_raises_stop_iteration_or_exits(broker: Broker) -> None:
    worker = broker.worker("shop")

    @worker.method
    def stops() -> None:
        raise StopIteration

    @worker.method
    def leaves() -> None:
        raise SystemExit(1)

    client = broker.client("shop")
    for method in ("stops", "leaves"):
        with pytest.raises(rpc.RemoteError):
            client.call(method)


def test_a_plain_function_may_run_a_loop_of_its_own(broker: Broker) -> None:
    worker = broker.worker("shop")

    async def inner() -> str:
        await asyncio.sleep(0)
        return "inner"

    worker.method(lambda: asyncio.run(inner()), name="plain")
    assert broker.client("shop").call("plain") == "inner"


def test_futures(broker: Broker) -> None:
    worker = broker.worker("shop", concurrency=3)

    @worker.method
    async def double(number: int) -> int:
        await asyncio.sleep(number)
        return 2 * number

    client, told = broker.client("shop"), []
    futures = [client.submit("double", number) for number in (3, 1, 2)]
    futures[0].add_done_callback(lambda future: told.append(future.result()))
    with pytest.raises(TimeoutError):
        futures[0].result(timeout=2.5)
    assert broker.clock.seconds() == 2.5
    assert [future.done() for future in futures] == [False, True, True]
    assert [future.result() for future in futures] == [6, 2, 4]
    assert told == [6]
    assert broker.clock.seconds() == 3  # they ran at the same time
    late = client.submit("double", 100)
    assert late.cancel()
    broker.clock.advance(0)
    assert "control" in [passage.what for passage in broker.trace]


def test_a_notification(broker: Broker) -> None:
    told: list[str] = []
    broker.worker("shop").method(told.append, name="tell")
    broker.client("shop").notify("tell", "news")
    broker.clock.advance(0)
    assert told == ["news"]


def test_a_map(broker: Broker) -> None:
    broker.worker("shop").method(pow)
    client = broker.client("shop")
    assert list(client.map("pow", range(250), [2] * 250, batch=100)) == [n * n for n in range(250)]
    assert [passage.what for passage in broker.trace].count("request") == 3


def test_a_broadcast(broker: Broker) -> None:
    for name in ("red", "green"):
        broker.worker("shop", name=name).method(lambda name=name: name, name="colour")
    client = broker.client("shop")
    answers = client.broadcast("colour", timeout=1)
    assert {answer.worker: answer.result() for answer in answers} == {
        "red": "red",
        "green": "green",
    }
    assert broker.clock.seconds() == 1
    assert len(client.broadcast("colour", first=2, timeout=None)) == 2
    assert broker.clock.seconds() == 1


def test_streams(broker: Broker) -> None:
    worker, closed = broker.worker("shop"), []

    @worker.method
    def count(last: int) -> Iterator[int]:
        try:
            yield from range(last)
        finally:
            closed.append("count")

    @worker.method
    async def ticks(last: int) -> AsyncIterator[int]:
        try:
            for number in range(last):
                await asyncio.sleep(1)
                yield number
        finally:
            closed.append("ticks")

    client = broker.client("shop").options(credit=4)
    for method in ("count", "ticks"):
        assert list(client.stream(method, 30)) == list(range(30))
    assert broker.clock.seconds() == 30
    with client.stream("ticks", 1000) as items:
        assert next(items) == 0
    broker.clock.advance(10)
    assert closed == ["count", "ticks", "ticks"]
    for item in client.stream("count", 1000):
        if item == 5:
            break
    broker.clock.advance(0)
    assert closed[3:] == ["count"]


def test_hooks_and_the_context(broker: Broker) -> None:
    worker, seen = broker.worker("shop"), []

    @worker.hook
    def log(context: rpc.Context, proceed: Any) -> Any:
        result = proceed()
        seen.append((context.method, context.headers.get("till"), context.remaining, result))
        return result

    @worker.method
    def plain() -> str:
        return rpc.current().method

    @worker.method
    async def slow() -> str:
        await asyncio.sleep(3)
        return rpc.current().method

    client = broker.client("shop").options(timeout=10, headers={"till": "7"})
    assert client.call("plain") == "plain"
    assert client.call("slow") == "slow"
    assert seen == [("plain", "7", 10.0, "plain"), ("slow", "7", 7.0, "slow")]
    with pytest.raises(LookupError):
        rpc.current()


def test_a_function_that_takes_long_and_one_that_calls(broker: Broker) -> None:
    inner, outer = broker.worker("inner"), broker.worker("outer")
    client, between = broker.client("outer"), broker.client("inner")

    @inner.method
    def slow() -> float:
        broker.clock.advance(5)
        return broker.clock.seconds()

    @outer.method
    def through() -> Any:
        return between.call("slow")

    assert client.call("through") == 5
    outer.method(lambda: between.call("slow", timeout=1), name="impatient")
    with pytest.raises(rpc.RemoteError, match="No reply"):
        client.call("impatient")


def test_the_programs_own_worker_is_left_as_it_is() -> None:
    """Several tests share it, and each begins anew."""
    runs: list[int] = []
    worker = rpc.Worker(URL, "shop", concurrency=2)

    @worker.method(idempotent=True)
    def buy(number: int) -> int:
        runs.append(number)
        return number

    for _ in range(2):
        with Broker() as broker:
            served = broker.serve(worker)
            client = broker.client("shop").options(headers={"idempotency-key": "a"})
            assert client.call("buy", 1) == client.call("buy", 2) == 1
            assert client.call("rpc.stats")["calls"] == 1
            assert client.call("rpc.describe")["worker"] == served.name == "worker-1"
    assert runs == [1, 1]


def test_a_worker_for_asyncio(broker: Broker) -> None:
    worker = rpc.aio.Worker(URL, "shop")
    other = broker.worker("other")
    client = broker.aio_client("other")

    @other.method
    def double(number: int) -> int:
        return 2 * number

    @worker.hook
    async def log(context: rpc.Context, proceed: Any) -> Any:
        return [context.method, await proceed()]

    @worker.method
    async def gathered(*numbers: int) -> list[int]:
        async with asyncio.timeout(5):
            return list(await asyncio.gather(*(client.call("double", n) for n in numbers)))

    @worker.method
    async def threaded() -> int:
        return await asyncio.to_thread(lambda: 5)

    @worker.method
    def plain() -> bool:
        broker.clock.advance(1)
        return True

    broker.serve(worker)
    calls = broker.client("shop")
    assert calls.call("gathered", 1, 2, 3) == ["gathered", [2, 4, 6]]
    assert calls.call("threaded") == ["threaded", 5]
    assert calls.call("plain") == ["plain", True]


def test_a_worker_for_twisted(broker: Broker) -> None:
    worker = rpc.tx.Worker(URL, "shop", reactor=broker.clock)

    @worker.method
    def later(seconds: float) -> Deferred[str]:
        return deferLater(broker.clock, seconds, lambda: "later")

    @worker.method
    async def twice(seconds: float) -> str:
        await later(seconds)
        return await later(seconds)

    @worker.method(run_in="thread")
    def plain() -> str:
        return "plain"

    @worker.method
    async def ticks(last: int) -> AsyncIterator[int]:
        for number in range(last):
            await later(1)
            yield number

    @worker.hook
    async def log(context: rpc.Context, proceed: Any) -> Any:
        return await proceed()

    broker.serve(worker)
    client = broker.client("shop").options(credit=1)
    assert client.call("later", 2) == "later"
    assert client.call("twice", 2) == "later"
    assert client.call("plain") == "plain"
    assert broker.clock.seconds() == 6
    assert list(client.stream("ticks", 3)) == [0, 1, 2]
    items = client.stream("ticks", 3)
    broker.clock.advance(10)  # it waits for credit
    assert list(items) == [0, 1, 2]
    cancelled = client.submit("later", 100)
    broker.clock.advance(0)
    cancelled.cancel()
    assert client.call("later", 2) == "later"


def test_an_asyncio_client(broker: Broker) -> None:
    worker = broker.worker("shop")

    @worker.method
    async def slow(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @worker.method
    def count(last: int) -> Iterator[int]:
        yield from range(last)

    async def main() -> list[Any]:
        async with broker.aio_client("shop") as client:
            assert isinstance(client, rpc.aio.Client)
            with pytest.raises(rpc.Timeout):
                await client.call("slow", 100, timeout=7)
            assert asyncio.get_running_loop().time() == 7
            mapped = [item async for item in client.map("slow", [1, 2], batch=1)]
            async for item in client.stream("count", 1000):
                if item == 3:
                    break
            return [*await asyncio.gather(client.call("slow", 1), client.submit("slow", 2)), mapped]

    assert broker.run(main()) == [1, 2, [1, 2]]


def test_a_twisted_client(broker: Broker) -> None:
    worker = broker.worker("shop")

    @worker.method
    async def slow(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    client, results = broker.tx_client("shop"), list[Any]()
    assert isinstance(client, rpc.tx.Client)
    client.call("slow", 5).addBoth(results.append)
    client.call("slow", 50, timeout=10).addBoth(results.append)
    broker.clock.advance(4.9)
    assert results == []
    broker.clock.advance(10)
    assert results[0] == 5
    assert results[1].check(rpc.Timeout)


def test_an_async_function_cannot_block(broker: Broker) -> None:
    worker, client = broker.worker("shop"), broker.client("shop")

    @worker.method
    async def blocks() -> None:
        client.call("blocks")

    @worker.method
    async def waits() -> None:
        broker.clock.advance(1)

    for method in ("blocks", "waits"):
        with pytest.raises(rpc.RemoteError, match="event loop would stand still"):
            client.call(method)


def test_within_a_running_loop(broker: Broker) -> None:
    """A test that is a coroutine itself: its own loop waits as long as it takes."""
    worker = broker.worker("shop")

    @worker.method
    async def slow() -> float:
        await asyncio.sleep(3)
        return asyncio.get_running_loop().time()

    async def main() -> tuple[Any, bool]:
        before = asyncio.get_running_loop()
        result = broker.client("shop").call("slow")
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match=r"Broker\.run"):
            broker.aio_client("shop").submit("slow")
        return result, asyncio.get_running_loop() is before

    assert asyncio.run(main()) == (3, True)


def test_what_can_never_come_is_told(broker: Broker) -> None:
    client = broker.client("shop")
    with pytest.raises(Stuck, match=r"'price', called by client-1 without a timeout, is not done"):
        client.call("price", timeout=None)

    async def main() -> None:
        await broker.aio_client("shop").call("price", timeout=None)

    with pytest.raises(Stuck, match="coroutine"):
        broker.run(main())
    with pytest.raises(rpc.ServiceUnavailable):
        client.options(no_worker="fail", timeout=None).call("price")


def test_a_client_that_is_closed(broker: Broker) -> None:
    with broker.client("shop") as client:
        future = client.submit("price")
    with pytest.raises(rpc.ConnectionLost):
        future.result()
    for use in (lambda: client.call("price"), client.connect):
        with pytest.raises(rpc.ConnectionLost, match="closed"):
            use()
    broker.clock.advance(1)
    assert [passage.command for passage in broker.trace][-1] == "DISCONNECT"


def test_a_broker_that_has_much_to_write() -> None:
    """It does not read on until that is done."""
    with Broker(config="journal_bytes = 1") as broker:
        broker.worker("shop").method(len)
        client = broker.client("shop")
        futures = [client.submit("len", "x" * size) for size in range(100)]
        assert [future.result() for future in futures] == list(range(100))


def test_a_worker_that_stops_finishes_what_runs(broker: Broker) -> None:
    worker = broker.worker("shop")

    @worker.method
    async def slow() -> str:
        await asyncio.sleep(5)
        return "done"

    client = broker.client("shop")
    future = client.submit("slow")
    broker.clock.advance(1)
    worker.stop()
    waits = client.submit("slow")
    told: list[str] = []
    worker.run(on_ready=lambda: told.append("ready"))
    assert told == ["ready"]
    assert future.result() == "done"
    assert broker.clock.seconds() == 5
    assert worker.served.is_over
    assert not waits.done()
    broker.worker("shop").method(slow)
    assert waits.result() == "done"


def test_a_worker_that_dies_leaves_its_calls_to_the_next(broker: Broker) -> None:
    runs: list[tuple[str, int]] = []

    def offer(name: str) -> rpc.testing.Worker:
        worker = broker.worker("shop", name=name)

        @worker.method
        async def slow() -> str:
            runs.append((name, rpc.current().attempt))
            await asyncio.sleep(5)
            return name

        @worker.method(delivery="at-most-once")
        async def once() -> str:
            await asyncio.sleep(5)
            return name

        return worker

    first, client = offer("first"), broker.client("shop")
    slow, once = client.submit("slow"), client.submit("once", timeout=60)
    broker.clock.advance(1)
    offer("second")
    first.kill()
    assert slow.result() == "second"
    assert runs == [("first", 1), ("second", 2)]
    with pytest.raises(rpc.Timeout):
        once.result()


def test_closing_cancels_what_runs() -> None:
    ended = []
    with Broker() as broker:
        worker = broker.worker("shop")

        @worker.method
        async def slow() -> None:
            try:
                await asyncio.sleep(5)
            finally:
                ended.append("slow")

        future = broker.client("shop").submit("slow")
        broker.clock.advance(1)
    with pytest.raises(rpc.ConnectionLost):
        future.result()
    assert ended == ["slow"]
