"""A long way between two processes: what is said at one end comes out at the other some time later.

python -m broker.bench.far PORT SECONDS      prints a port, from which bytes take SECONDS to PORT, and as long back
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque

CHUNK = 256 * 1024  # bytes read at once
IN_FLIGHT = 16 * 1024 * 1024  # bytes that are on the way at once


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Carry one direction until its end."""
    loop = asyncio.get_running_loop()
    way: deque[tuple[float, bytes]] = deque()  # when it comes out, and what
    size = 0
    news = asyncio.Event()
    room = asyncio.Event()

    async def come_out() -> None:
        nonlocal size
        while True:
            while not way:
                news.clear()
                await news.wait()
            due, data = way[0]
            await asyncio.sleep(max(0.0, due - loop.time()))
            way.popleft()
            size -= len(data)
            room.set()
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

    out = asyncio.create_task(come_out())
    data = b"."
    while data:
        data = await reader.read(CHUNK)
        way.append((loop.time() + seconds, data))
        size += len(data)
        news.set()
        while size > IN_FLIGHT and not out.done():
            room.clear()
            await room.wait()
    await out


async def main(port: int, seconds: float) -> None:
    """Serve until the process is ended."""

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(
            carry(reader, there_writer, seconds),
            carry(there_reader, writer, seconds),
            return_exceptions=True,
        )

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
