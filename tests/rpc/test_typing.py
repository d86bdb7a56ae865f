"""`mypy --strict` on programs of users: right ones pass, and each wrong one is refused where it is wrong."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import mypy.api
import pytest

import rpc
import rpc.aio
import rpc.tx

#: A line that ends with `# E: word` is to be refused with that word; all others are to pass.
PROGRAM = """
    import asyncio
    import logging
    from collections.abc import Awaitable, Callable, Iterator
    from dataclasses import dataclass
    from typing import Any, assert_type

    from twisted.internet.defer import Deferred

    import rpc
    import rpc.aio
    import rpc.tx

    URL = "stomp://127.0.0.1:61613"


    @dataclass
    class Order:
        item: str
        amount: int = 1


    # Workers

    results = rpc.SqliteResults("/tmp/results", seconds=60)
    worker = rpc.Worker(URL, "orders", concurrency=4, backlog=100, results=results, doc="Orders.")
    aio_worker = rpc.aio.Worker(URL, service="orders", tracebacks=True, name="me", heart_beat=5.0)
    tx_worker = rpc.tx.Worker(URL, "orders", max_deliveries=3, results=rpc.MemoryResults(lambda: 0.0))
    rpc.Worker(URL, "orders", concurency=4)  # E: concurency
    rpc.Worker(URL, "orders", concurrency="4")  # E: concurrency
    rpc.aio.Worker(URL, "orders", result=results)  # E: result
    rpc.tx.Worker(URL, "orders", reactor=1)  # E: reactor
    rpc.Worker(URL)  # E: service
    rpc.Worker(URL, "orders", results=dict())  # E: results


    @worker.method
    def order(what: Order) -> int:
        return what.amount


    @worker.method(name="later", timeout=5, retries=3, retry_delay=0.1, idempotent=True)
    async def order_later(what: Order) -> int:
        return what.amount


    @aio_worker.method(delivery="at-most-once", run_in="thread", concurrency=1)
    def count_to(number: int) -> Iterator[int]:
        yield from range(number)


    @tx_worker.method
    def deferred(number: int) -> Deferred[int]:
        done: Deferred[int] = Deferred()
        return done


    assert_type(order(Order("tea")), int)
    assert_type(count_to(3), Iterator[int])
    assert_type(deferred(3), Deferred[int])
    order("tea")  # E: Order


    async def in_a_task() -> None:
        assert_type(await order_later(Order("tea")), int)
        await order_later(1)  # E: Order


    @worker.method(retrys=3)  # E: retrys
    def misspelt() -> None: ...


    @worker.method(delivery="twice")  # E: delivery
    def wrong() -> None: ...


    class Shop:
        @rpc.method(timeout=1.0)
        def price(self, item: str) -> float:
            call = rpc.current()
            assert_type(call.user, str | None)
            assert_type(call.remaining, float | None)
            assert_type(call.cancelled, bool)
            assert_type(call.headers.get("colour"), str | None)
            if item == "":
                raise rpc.Forbidden("No such thing for you", data={"item": item})
            raise rpc.Overloaded("Later", retry_after=2.0)

        @rpc.method(idempotnt=True)  # E: idempotnt
        def misspelt(self) -> None: ...


    assert_type(Shop().price("tea"), float)
    assert_type(worker.register(Shop(), prefix="shop."), rpc.Worker)


    @worker.hook
    def log(context: rpc.Context, proceed: Callable[[], Any]) -> Any:
        logging.info("%s", context.method)
        return proceed()


    @aio_worker.hook
    async def guard(context: rpc.Context, proceed: Callable[[], Awaitable[Any]]) -> Any:
        return await proceed()


    def serve() -> None:
        worker.run(on_ready=lambda: print("ready"))
        asyncio.run(aio_worker.run(signals=True))
        assert_type(tx_worker.run(), Deferred[None])
        worker.run(signals=True)  # E: signals


    # Clients


    def blocking() -> None:
        with rpc.Client(URL, service="orders", durable=False) as client:
            total: int = client.call("order", {"item": "tea"}, timeout=5)
            client.call("order", timeout="5")  # E: timeout
            client.options(on_loss="resend", no_worker="fail", codec="msgpack", priority=9, credit=5)
            client.options(headers={"idempotency-key": "order-17"}, timeout=None)
            client.options(on_los="resend")  # E: on_los
            client.options(on_loss="retry")  # E: on_loss
            client.options(timeout="5")  # E: timeout
            client.submit("order").add_done_callback(lambda future: print(future.result()))
            for answer in client.broadcast("order", first=2):
                assert_type(answer, rpc.Answer)
                assert_type(answer.worker, str)
            for item in client.stream("count_to", 3):
                total += item
            try:
                client.proxy.order(1)
            except rpc.Timeout:
                raise
            except rpc.RemoteError as error:
                assert_type(error.type, str)
                assert_type(error.traceback, str | None)
            except rpc.ConnectionLost as error:
                assert_type(error.sent, bool)
            except rpc.Overloaded as error:
                assert_type(error.retry_after, float | None)
            except rpc.ErrorReply as error:
                assert_type(error.code, int)
        rpc.Client(URL)  # E: Client
        rpc.Client(URL, "orders", durabel=True)  # E: Client


    async def with_asyncio() -> None:
        async with rpc.aio.Client(URL, "orders") as client:
            async with client.stream("count_to", 3) as items:
                async for item in items:
                    print(item)
            for item in client.stream("count_to", 3):  # E: iter
                print(item)
            [answer] = await client.broadcast("order", first=1)
            assert_type(answer, rpc.Answer)
            client.options(credit="many")  # E: credit


    async def with_twisted() -> None:
        client = rpc.tx.Client(URL, "orders")
        assert_type(client.call("order"), Deferred[Any])
        async for result in client.map("order", [Order("tea")]):
            print(result)
        await client.close()
"""


def test_programs_of_users(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    root = pytestconfig.rootpath
    program = textwrap.dedent(PROGRAM).lstrip()
    path = tmp_path / "program.py"
    path.write_text(program)
    wanted = {
        number: word[1]
        for number, line in enumerate(program.splitlines(), 1)
        if (word := re.search(r"# E: (\w+)$", line))
    }
    # The project's own cache: nothing but the program is read anew.
    told, trouble, _ = mypy.api.run(
        [
            *("--config-file", str(root / "setup.cfg"), "--cache-dir", str(root / ".mypy_cache")),
            *("--strict", "--no-error-summary", "--hide-error-context", str(path)),
        ]
    )
    assert trouble == ""
    found: dict[int, str] = {}
    for line in told.splitlines():
        match = re.match(r".*program\.py:(\d+): (error|note): (.*)", line)
        assert match, line
        found[int(match[1])] = found.get(int(match[1]), "") + match[3]
    assert {
        number: found.get(number, "")
        for number in wanted
        if wanted[number] not in found.get(number, "")
    } == {}
    assert {number: text for number, text in found.items() if number not in wanted} == {}


def test_what_types_refuse_is_refused_at_run_time() -> None:
    url = "stomp://127.0.0.1"
    wrong: dict[str, int] = {"concurency": 4}
    for make in (rpc.Worker, rpc.aio.Worker, rpc.tx.Worker):
        with pytest.raises(TypeError, match="concurency"):
            make(url, "orders", **wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="concurency"):
            make(url, "orders").method(**wrong)(print)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="concurency"):
        rpc.method(**wrong)(print)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="concurency"):
        rpc.Client(url, "orders").options(**wrong)  # type: ignore[arg-type]
