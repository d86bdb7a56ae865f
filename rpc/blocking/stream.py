"""One TCP connection for many threads: any thread writes, one at a time reads.

Knows bytes and sockets, nothing of STOMP or calls. How it keeps writers from waiting for each other:

1. `write` adds its bytes to what waits and, unless another thread is in the middle of sending, sends;
   that thread takes along whatever was added meanwhile, in one system call;
2. a write never blocks. What the socket does not take now is left to the thread that reads, which waits
   for both directions. So a large request cannot keep the replies of others from being read;
3. nothing is ever raised by `write`: a broken connection is found in one place, by `read`.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading

CHUNK = 64 * 1024  # bytes taken from the socket at once
MOST_HELD = 3 * 1024  # bytes that wait for others to leave with: the peer is to work meanwhile
LONGEST = 3600.0  # seconds of one wait; poll(2) counts milliseconds in an int


class Bell:
    """Wakes a thread out of `poll`. `ring` may be called from any thread and from a signal handler."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def fileno(self) -> int:
        """Return what to poll for POLLIN."""
        return self._read

    @property
    def rope(self) -> int:
        """What to write a byte to, for whoever cannot call `ring`."""
        return self._write

    def ring(self) -> None:
        """Wake whoever polls, now or the next time. Takes no lock; after `close` it does nothing."""
        with contextlib.suppress(OSError):  # full: it rings already
            os.write(self._write, b"!")

    def hush(self) -> None:
        """Forget that it rang."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)

    def close(self) -> None:
        """Give both ends back. May be called again."""
        if self._read >= 0:
            os.close(self._read)
            os.close(self._write)
            self._read = self._write = -1

    __del__ = close


class Stream:
    """A connected socket. Raises `OSError` from the constructor and from `read` only."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        """Connect within `timeout` seconds for each address of `host`."""
        self._socket = socket.create_connection((host, port), timeout)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._bell = Bell()
        self._poll = select.poll()
        self._wanted = select.POLLIN  # what the reader asks of the socket
        self._poll.register(self._socket, self._wanted)
        self._poll.register(self._bell, select.POLLIN)
        # Guards all below; never held during a system call that waits.
        self._mutex = threading.Lock()
        self._waiting: list[bytes] = []  # to be written, in order, behind _rest
        self._rest: memoryview | None = None  # what is being sent, or the socket has not taken
        self._writing = False  # a thread is sending
        self._reading = False  # a thread is in `read`
        self._closed = False
        self._queued = 0  # bytes ever given to `write`
        self._written = 0  # bytes the socket took

    def write(self, data: bytes, *, held: bool = False) -> int:
        """Send soon, without waiting; return the place of `data` in the stream, for `has_left`.

        `held`: unless somebody is in `read`, let it leave with what is written next, or when somebody
        reads, which must happen soon: a system call costs more than most of what it sends.
        """
        with self._mutex:
            place = self._queued
            self._queued += len(data)
            if self._closed:
                return place
            self._waiting.append(data)
            if self._writing or self._rest is not None:
                return place
            if held and not self._reading and self._queued - self._written < MOST_HELD:
                return place
            self._writing = True
        if not self._send():
            self.wake()
        return place

    def has_left(self, place: int) -> bool:
        """Tell whether any of the bytes written at `place` may have left this process."""
        return place < self._written

    def read(self, timeout: float) -> bytes:
        """Wait up to `timeout` seconds for bytes; b"" if none came, or woken.

        One thread at a time. Raises `OSError` when the connection has ended or is closed meanwhile.
        """
        with self._mutex:
            if self._closed:
                raise ConnectionError("closed")
            self._reading = True
            sends = bool(self._waiting) and self._rest is None and not self._writing
            self._writing = self._writing or sends
        try:
            if sends:
                self._send()
            with self._mutex:
                stuck = self._rest is not None and not self._writing
            wanted = select.POLLIN | select.POLLOUT if stuck else select.POLLIN
            if wanted != self._wanted:
                self._poll.modify(self._socket, wanted)
                self._wanted = wanted
            return self._take(self._poll.poll(min(max(0.0, timeout), LONGEST) * 1000))
        finally:
            self._stop_reading()

    def _stop_reading(self) -> None:
        with self._mutex:
            self._reading = False
            if self._closed:
                self._release()

    def _take(self, ready: list[tuple[int, int]]) -> bytes:
        data = b""
        for descriptor, events in ready:
            if descriptor == self._bell.fileno():
                self._bell.hush()
                continue
            if events & ~select.POLLOUT:  # readable, or broken: recv tells which
                data = self._receive()
            if events & select.POLLOUT:
                with self._mutex:
                    sends = not self._writing
                    self._writing = True
                if sends:
                    self._send()
        if self._closed:
            raise ConnectionError("closed")
        return data

    def _receive(self) -> bytes:
        try:
            data = self._socket.recv(CHUNK)
        except BlockingIOError:  # nothing there after all (poll(2), "BUGS")
            return b""
        if not data:
            raise ConnectionError("closed by the broker")
        return data

    def _send(self) -> bool:
        """Send what waits; False if the socket took only a part. For the thread that set `_writing`."""
        count = 0
        try:
            while True:
                with self._mutex:
                    data = self._next(count)
                    if data is None:
                        self._stop_writing()
                        return True
                try:
                    count = self._socket.send(data)
                except BlockingIOError:
                    count = 0
                if count < len(data):
                    with self._mutex:
                        self._next(count)
                        self._stop_writing()
                        return False
        except BaseException as error:
            # A frame may be cut in the middle, by Ctrl-C for one: nothing may follow it.
            with self._mutex:
                self._waiting.clear()
                self._rest = None
                self._shut()
                self._stop_writing()
            if isinstance(error, OSError):
                return True  # `read` will find out
            raise

    def _next(self, count: int) -> memoryview | None:
        """Note that `count` bytes more have left, and return what is to follow. With the mutex held."""
        rest = self._rest
        if rest is not None:
            self._written += count
            rest = rest[count:] if count < len(rest) else None
        if rest is None and self._waiting and not self._closed:
            rest = memoryview(b"".join(self._waiting))
            self._waiting.clear()
        self._rest = rest
        return rest

    def _stop_writing(self) -> None:
        self._writing = False
        if self._closed:
            self._release()

    def is_free(self) -> bool:
        """Tell that this thread is not in the middle of anything here, so that it may write: for finalizers."""
        if free := self._mutex.acquire(blocking=False):
            self._mutex.release()
        return free

    def wake(self) -> None:
        """Let the thread in `read` return, or whichever thread reads next."""
        with self._mutex:  # or the bell's descriptor might be another's by now
            if not self._closed:
                self._bell.ring()

    def close(self) -> None:
        """End the connection; the thread in `read`, if any, gets an `OSError`. May be called again."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            self._shut()
            self._bell.ring()
            self._release()

    def disown(self) -> None:
        """Let go of a connection that belongs to the parent of this forked process.

        The parent goes on using it, so nothing is ended; its threads, which may have held the mutex at
        the moment of the fork, do not exist here.
        """
        self._mutex = threading.Lock()
        self._closed = True
        self._reading = self._writing = False
        self._release()

    def _shut(self) -> None:
        """End the connection both ways, which also wakes the thread in `read`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _release(self) -> None:
        """Give the descriptors back once no thread uses them (another may get the same numbers)."""
        if not (self._reading or self._writing) and self._bell.fileno() >= 0:
            self._socket.close()
            self._bell.close()
