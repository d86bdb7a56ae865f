"""aio-pika's own pattern for remote calls, `aio_pika.patterns.RPC`, with its defaults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import aio_pika
from aio_pika.patterns import RPC

from tests.bench.peers.load import FLIGHT, Clock, main


async def echo(*, argument: str) -> str:
    return argument


def serve(address: str, ready: Callable[[str], None]) -> None:
    async def run() -> None:
        connection = await aio_pika.connect(address)
        rpc = await RPC.create(await connection.channel())
        await rpc.register("echo", echo, auto_delete=True)
        ready(address)
        await asyncio.Future()

    asyncio.run(run())


async def caller(rpc: Any, clock: Clock, arguments: Iterator[str]) -> None:
    for argument in arguments:
        clock.came(await rpc.call("echo", {"argument": argument}), argument)


async def calling(address: str, clock: Clock, tasks: int) -> None:
    connection = await aio_pika.connect(address)
    rpc = await RPC.create(await connection.channel())
    clock.restart()
    arguments = clock.arguments()
    await asyncio.gather(*(caller(rpc, clock, arguments) for _ in range(tasks)))


def one(address: str, clock: Clock) -> None:
    asyncio.run(calling(address, clock, 1))


def flight(address: str, clock: Clock) -> None:
    asyncio.run(calling(address, clock, FLIGHT))


if __name__ == "__main__":
    main(serve, {"one": one, "flight": flight})
