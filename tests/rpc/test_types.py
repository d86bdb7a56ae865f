"""What a user's program may rely on: the types of the three faces. mypy checks this file; running it, too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Future
from typing import Any, assert_type

from twisted.internet.defer import Deferred

import rpc
import rpc.aio
import rpc.tx


def blocking(client: rpc.Client) -> None:
    """Use every verb from a thread."""
    assert_type(client.call("whee", 1, timeout=5), Any)
    future: Future[Any] = client.submit("whee", argument=1)
    assert_type(client.notify("whee"), None)
    results: Iterator[int] = client.map("whee", [1, 2], "ab", batch=10, ahead=2, return_errors=True)
    assert_type(client.map("whee", [1]), Generator[Any, None, None])
    for answer in client.broadcast("whee", 1, first=2, timeout=0.5):
        assert_type(answer, rpc.Answer)
        assert_type(answer.worker, str)
    with client.stream("whee", limit=3) as rows:
        assert_type(rows, rpc.Stream)
        items: Iterator[dict[str, int]] = rows
    assert_type(client.options(codec="msgpack", priority=3), rpc.Client)
    assert_type(client.stats().late, int)
    print(future, results, items)


async def with_asyncio(client: rpc.aio.Client) -> None:
    """Use every verb in a task."""
    assert_type(await client.call("whee", 1, timeout=None), Any)
    future: asyncio.Future[Any] = client.submit("whee")
    assert_type(await client.notify("whee"), None)
    assert_type(client.map("whee", [1], return_errors=True), AsyncGenerator[Any, None])
    assert_type(await client.broadcast("whee", first=1), list[rpc.Answer])
    async with client.stream("whee") as rows:
        assert_type(rows, rpc.aio.Stream)
        items: AsyncIterator[Any] = rows
    assert_type(client.options(credit=3), rpc.aio.Client)
    print(future, items)


async def with_twisted(client: rpc.tx.Client) -> None:
    """Use every verb in a coroutine that `Deferred.fromCoroutine` runs."""
    assert_type(client.call("whee", 1), Deferred[Any])
    assert_type(client.notify("whee"), Deferred[None])
    assert_type(await client.broadcast("whee", first=1), list[rpc.Answer])
    async for row in client.map("whee", [1], batch=2):
        assert_type(row, Any)
    async with client.stream("whee") as rows:
        assert_type(rows, rpc.tx.Stream)
        items: AsyncIterator[Any] = rows
    assert_type(client.options(on_loss="wait"), rpc.tx.Client)
    print(items)


def test_the_names_are_there() -> None:
    used: list[Callable[..., Any]] = [blocking, with_asyncio, with_twisted]
    assert all(each.__doc__ for each in used)
