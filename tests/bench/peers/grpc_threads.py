"""gRPC with threads: unary calls of a blocking stub, and its futures.

Without Protocol Buffers: the argument's bytes are the message, which is the least that gRPC can do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from tests.bench.peers.load import FLIGHT, Clock, main

THREADS = 8  # of the server


def echo(argument: str, context: object) -> str:
    return argument


def serve(address: str, ready: Callable[[str], None]) -> None:
    server = grpc.server(ThreadPoolExecutor(THREADS))
    method = grpc.unary_unary_rpc_method_handler(echo, bytes.decode, str.encode)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bench.Echo", {"echo": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    ready(f"127.0.0.1:{port}")
    server.wait_for_termination()


def stub(address: str) -> Any:
    channel = grpc.insecure_channel(address)
    grpc.channel_ready_future(channel).result()
    return channel.unary_unary("/bench.Echo/echo", str.encode, bytes.decode)


def one(address: str, clock: Clock) -> None:
    call = stub(address)
    clock.restart()
    for argument in clock.arguments():
        clock.came(call(argument), argument)


def flight(address: str, clock: Clock) -> None:
    call = stub(address)
    under_way: deque[tuple[Any, str]] = deque()
    clock.restart()
    for argument in clock.arguments():
        if len(under_way) == FLIGHT:
            future, due = under_way.popleft()
            clock.came(future.result(), due)
        under_way.append((call.future(argument), argument))
    for future, due in under_way:
        clock.came(future.result(), due)


if __name__ == "__main__":
    main(serve, {"one": one, "flight": flight})
