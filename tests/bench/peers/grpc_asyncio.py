"""gRPC with asyncio on both sides. As in `grpc_threads`, without Protocol Buffers.

Its serializers get bytes where they should get a string, so there are none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import grpc.aio

from tests.bench.peers.load import FLIGHT, Clock, main


async def echo(argument: bytes, context: object) -> bytes:
    return argument


def serve(address: str, ready: Callable[[str], None]) -> None:
    async def run() -> None:
        server = grpc.aio.server()
        method = grpc.unary_unary_rpc_method_handler(echo)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("bench.Echo", {"echo": method}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        ready(f"127.0.0.1:{port}")
        await server.wait_for_termination()

    asyncio.run(run())


async def caller(call: Any, clock: Clock, arguments: Iterator[str]) -> None:
    for argument in arguments:
        clock.came((await call(argument.encode())).decode(), argument)


async def calling(address: str, clock: Clock, tasks: int) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.channel_ready()
        call = channel.unary_unary("/bench.Echo/echo")
        clock.restart()
        arguments = clock.arguments()
        await asyncio.gather(*(caller(call, clock, arguments) for _ in range(tasks)))


def one(address: str, clock: Clock) -> None:
    asyncio.run(calling(address, clock, 1))


def flight(address: str, clock: Clock) -> None:
    asyncio.run(calling(address, clock, FLIGHT))


if __name__ == "__main__":
    main(serve, {"one": one, "flight": flight})
