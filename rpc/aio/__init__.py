"""Remote calls for asyncio: the names of `rpc`, to be awaited.

    async with rpc.aio.Client("stomp://127.0.0.1:61613", service="demo") as client:
        await client.call("whee", "Hello")

A client belongs to the event loop in which it was first used.
"""

from rpc.aio.client import Client
from rpc.aio.worker import Worker
from rpc.calling.flow import Stream

__all__ = ["Client", "Stream", "Worker"]
