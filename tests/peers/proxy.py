"""What stands between two brokers in these tests: a link that can be cut, held, slowed, and that loses what it is told to.

The port that is dialled stays the same, also when the broker behind it is started again elsewhere. One thread.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

CHUNK = 1 << 18  # bytes read at once
MOST = 1 << 22  # bytes on the way, beyond which nothing more is read


class Flow:
    """What goes one way."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.chunks: deque[tuple[float, bytes]] = deque()  # and when each may leave
        self.size = 0  # bytes of them
        self.free = 0.0  # when all that is on the way will have left
        self.ended = False  # the source says no more
        self.over = False  # and the sink knows

    def read(self, delay: float, rate: int) -> bytes:
        """Take what has come; return it. `rate`: bytes that leave in a second, 0: as many as can."""
        data = self.source.recv(rate or CHUNK)
        if data:
            due = time.monotonic() + delay
            if rate:
                due = self.free = max(due, self.free) + len(data) / rate
            self.chunks.append((due, data))
            self.size += len(data)
        else:
            self.ended = True
        return data

    def write(self, now: float) -> None:
        """Hand on what is due, as much as is taken."""
        while self.chunks and self.chunks[0][0] <= now:
            due, data = self.chunks.popleft()
            try:
                sent = self.sink.send(data)
            except BlockingIOError:
                sent = 0
            self.size -= sent
            if sent < len(data):
                self.chunks.appendleft((due, data[sent:]))
                return
        if self.ended and not self.chunks and not self.over:
            self.over = True
            self.sink.shutdown(socket.SHUT_WR)


class Pair:
    """One connection through the proxy."""

    def __init__(self, front: socket.socket, back: socket.socket) -> None:
        for each in (front, back):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.front, self.back = front, back
        self.flows = [Flow(front, back), Flow(back, front)]
        self.held = False

    def close(self) -> None:
        """Reset both ends, as a cut does."""
        for each in (self.front, self.back):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            each.close()


class Proxy:
    """Passes on what comes to `port` to another port, as well as it is told to."""

    def __init__(self, target: int = 0) -> None:
        """`target` is a port of this machine; 0: nobody is there."""
        self.target = target
        self.delay = 0.0  # seconds each way
        self.rate = 0  # bytes a second, each way and connection; 0: as fast as can be
        self.connects = 0  # that came
        self.carried = bytearray()  # all that came over it while `watching`
        self.watching = False
        self._pattern = b""  # the next chunk with it is lost
        self._lost = threading.Event()
        self._pairs: list[Pair] = []
        self._orders: deque[Callable[[], None]] = deque()
        self._bell, self._rung = socket.socketpair()
        self._rung.setblocking(False)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._over = False
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """End all connections now."""
        self._do(self._cut)

    def hold(self) -> None:
        """Half-open: the connections of now carry nothing more, and no end hears of it."""
        self._do(lambda: self._hold(True))

    def release(self) -> None:
        """Let them go on."""
        self._do(lambda: self._hold(False))

    def lose(self, pattern: bytes) -> threading.Event:
        """Lose the next chunk that has these bytes, and cut the connection; the event tells when."""
        self._lost = threading.Event()
        self._pattern = pattern
        return self._lost

    def close(self) -> None:
        """Be no more."""
        self._over = True
        with suppress(OSError):  # it has seen that by itself
            self._bell.send(b"!")
        self._thread.join()

    def _do(self, order: Callable[[], None]) -> None:
        """Let the thread do something, and wait until it is done."""
        done = threading.Event()
        self._orders += [order, done.set]
        self._bell.send(b"!")
        assert done.wait(30)

    def _cut(self) -> None:
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.close()

    def _hold(self, held: bool) -> None:
        for pair in self._pairs:
            pair.held = held

    def _run(self) -> None:
        while not self._over:
            self._wait()
            while self._orders:
                self._orders.popleft()()
            self._accept()
            for pair in [pair for pair in self._pairs if not pair.held]:
                self._carry(pair)
        self._cut()
        for each in (self._listener, self._bell, self._rung):
            each.close()

    def _wait(self) -> None:
        """Wait until something can be done."""
        now, soonest = time.monotonic(), 1.0
        with selectors.PollSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._rung, selectors.EVENT_READ)
            for pair in self._pairs:
                if pair.held:
                    continue
                wanted = {pair.front: 0, pair.back: 0}
                for flow in pair.flows:
                    if not flow.ended and flow.size < (self.rate or MOST):
                        wanted[flow.source] |= selectors.EVENT_READ
                    if flow.chunks and flow.chunks[0][0] <= now:
                        wanted[flow.sink] |= selectors.EVENT_WRITE
                    elif flow.chunks:
                        soonest = min(soonest, flow.chunks[0][0] - now)
                for each, events in wanted.items():
                    if events:
                        selector.register(each, events)
            selector.select(soonest)
        try:
            self._rung.recv(1024)
        except BlockingIOError:
            return

    def _accept(self) -> None:
        try:
            front, _ = self._listener.accept()
        except BlockingIOError:
            return
        self.connects += 1
        try:
            back = socket.create_connection(("127.0.0.1", self.target), 5)
        except OSError:
            front.close()
            return
        self._pairs.append(Pair(front, back))

    def _carry(self, pair: Pair) -> None:
        """Move what there is."""
        now = time.monotonic()
        try:
            for flow in pair.flows:
                if not flow.ended and flow.size < (self.rate or MOST):
                    try:
                        data = flow.read(self.delay, self.rate)
                    except BlockingIOError:
                        data = b""
                    if self.watching:
                        self.carried += data
                    if self._pattern and self._pattern in data:
                        self._pattern = b""
                        self._drop(pair)
                        self._lost.set()
                        return
                flow.write(now)
        except OSError:
            self._drop(pair)
            return
        if all(flow.over for flow in pair.flows):
            self._drop(pair)

    def _drop(self, pair: Pair) -> None:
        self._pairs.remove(pair)
        pair.close()
