"""Time that nobody waits for: the clock, asyncio on it, and two runs that are the same."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import rpc
from rpc.testing import Broker, Clock, Stuck
from rpc.testing.loop import make_loop

DAY = 86_400.0


# --- the clock ----------------------------------------------------------------------------------------


def test_things_happen_in_the_order_of_their_moments_then_of_their_asking() -> None:
    clock, seen = Clock(), list[tuple[float, str]]()

    def note(what: str) -> None:
        seen.append((clock.seconds(), what))

    clock.callLater(2, note, "c")
    clock.callLater(1, note, "a")
    clock.callLater(1, note, "b")
    clock.callLater(1, lambda: clock.callLater(0, note, "at once"))
    clock.callLater(9, note, "late")
    clock.advance(3)
    assert seen == [(1, "a"), (1, "b"), (1, "at once"), (2, "c")]
    assert clock.seconds() == 3
    assert clock.wall() == 946_684_803
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


def test_waiting_within_waiting() -> None:
    """A function that takes time does so for everybody."""
    clock, seen = Clock(), list[float]()

    def slow() -> None:
        clock.advance(5)
        seen.append(clock.seconds())

    clock.callLater(1, slow)
    clock.callLater(2, lambda: seen.append(clock.seconds()))
    clock.advance(3)
    assert seen == [2, 6]
    assert clock.seconds() == 6


def test_what_is_waited_for() -> None:
    clock, done = Clock(), list[int]()
    clock.callLater(5, done.append, 1)
    assert not clock.wait_for(lambda: bool(done), "nothing", until=4)
    assert clock.seconds() == 4
    assert clock.wait_for(lambda: bool(done), "nothing", until=100)
    assert clock.seconds() == 5
    with pytest.raises(Stuck, match="Nothing is left to happen, and they are three"):
        clock.wait_for(lambda: len(done) == 3, "they are three")


def test_what_happens_over_and_over_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rpc.testing.clock.MOST", 100)
    clock = Clock()

    def again() -> None:
        clock.callLater(1, again)

    again()
    with pytest.raises(Stuck, match="After 101 seconds it is not over"):
        clock.wait_for(lambda: False, "it is not over")


def test_a_moment_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpc.testing.clock.MOST_AT_ONCE", 100)
    clock = Clock()

    def again() -> None:
        clock.callLater(0, again)

    clock.callLater(1, again)
    with pytest.raises(Stuck, match=r"Second 1\.0 never ends"):
        clock.advance(2)


def test_chores_are_no_reason_for_time_to_pass() -> None:
    clock, done = Clock(), list[float]()
    chore = clock.every(30, lambda: done.append(clock.seconds()))
    clock.advance(29)
    assert done == []
    clock.advance(100)
    assert done == [129]
    with pytest.raises(Stuck):
        clock.wait_for(lambda: len(done) > 1, "")
    clock.no_longer(chore)
    clock.advance(100)
    assert done == [129]


# --- asyncio on it ------------------------------------------------------------------------------------


def test_asyncio(caplog: pytest.LogCaptureFixture) -> None:
    clock, seen = Clock(), list[Any]()
    loop = make_loop(clock)

    async def sleep(seconds: float) -> float:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            seen.append(f"cancelled at {clock.seconds()}")
            raise
        return seconds

    async def main() -> list[float]:
        assert asyncio.get_running_loop() is loop
        assert loop.is_running()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await sleep(10)
        loop.call_soon_threadsafe(seen.append, "soon")
        asyncio.get_running_loop().call_later(1, seen.append, "never").cancel()
        event = asyncio.Event()
        loop.call_later(2, event.set)
        await event.wait()
        seen.append(await asyncio.to_thread(lambda: clock.advance(1)))
        assert isinstance(asyncio.current_task(), asyncio.Task)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(sleep(seconds)) for seconds in (5, 1)]
        return [task.result() for task in tasks]

    assert loop.run_until_complete(main()) == [5, 1]
    assert not loop.is_running()
    assert seen == ["cancelled at 3.0", "soon", None]
    assert clock.seconds() == 11
    assert clock.getDelayedCalls() == []
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    loop.call_soon(lambda: 1 // 0)
    clock.advance(0)
    assert "ZeroDivisionError" in caplog.text
    with pytest.raises(NotImplementedError):
        loop.run_until_complete(asyncio.open_connection("127.0.0.1", 1))


def test_an_asynchronous_generator_that_is_left_cleans_up() -> None:
    clock, seen = Clock(), list[str]()

    async def items() -> Any:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(1)
            seen.append("clean")

    async def main() -> None:
        async for _ in items():
            break
        await asyncio.sleep(2)

    make_loop(clock).run_until_complete(main())
    assert seen == ["clean"]


# --- long times, and the same each time ---------------------------------------------------------------


def test_thirty_days_take_no_time(broker: Broker) -> None:
    begun = time.monotonic()
    client = broker.client("shop")
    with pytest.raises(rpc.Timeout):
        client.call("price", "tea", timeout=30 * DAY)
    assert broker.clock.seconds() == 30 * DAY
    worker = broker.worker("shop")

    @worker.method
    async def slow() -> float:
        await asyncio.sleep(30 * DAY)
        return rpc.current().remaining or 0.0

    assert client.call("slow", timeout=31 * DAY) == DAY
    assert time.monotonic() - begun < 1


def test_an_expired_call_is_not_run(broker: Broker) -> None:
    client = broker.client("shop")
    client.notify("price", "tea", timeout=5)
    assert len(broker.messages("/queue/rpc.shop")) == 1
    broker.clock.advance(31)
    runs: list[str] = []
    broker.worker("shop").method(runs.append, name="price")
    broker.clock.advance(1)
    assert runs == []
    assert broker.messages("/queue/rpc.shop") == []


def story(seed: int) -> list[Any]:
    """Return what happened, in every detail."""
    with Broker(seed=seed) as broker:
        for name in ("red", "green"):
            worker = broker.worker("shop", name=name, concurrency=2)

            @worker.method(retries=2, retry_delay=1.0)
            async def price(what: str) -> int:
                await asyncio.sleep(len(what))
                if rpc.current().attempt == 1 and what == "milk":
                    raise LookupError(what)
                return len(what)

            @worker.method
            def ring(worker: str = name) -> str:
                return worker

        clients = [broker.client("shop").options(on_loss="wait") for _ in range(3)]
        broker.faults.delay("reply", 0.5, method="price", after=2)
        broker.faults.disconnect("delivery", after=3)
        futures = [
            client.submit("price", what) for client in clients for what in ("tea", "milk", "sugar")
        ]
        broker.clock.advance(4)
        broker.restart(down=3)
        results = [future.exception() or future.result() for future in futures]
        answers = clients[0].broadcast("ring")
        return [
            *map(repr, results),
            *sorted(answer.result() for answer in answers),
            *broker.trace,
            broker.clock.seconds(),
        ]


def test_two_runs_are_the_same() -> None:
    first = story(1)
    assert len(first) > 50
    assert story(1) == first
    assert [str(each) for each in story(2)] != [str(each) for each in first]  # other back-offs
