"""One TCP connection for many threads, with TLS or without: any thread writes, one at a time reads.

Knows bytes and sockets, nothing of STOMP or calls, and of TLS no more than that `SecureSocket` looks like a socket.
How it keeps writers from waiting for each other:

1. `write` adds its bytes to what waits and, unless another thread is in the middle of sending, sends;
   that thread takes along whatever was added meanwhile, in one system call;
2. a write never blocks. What the socket does not take now is left to the thread that reads, which waits
   for both directions. So a large request cannot keep the replies of others from being read;
3. nothing is ever raised by `write`: a broken connection is found in one place, by `read`.

A lock costs as much as twenty lines, so what can do without has none. That somebody reads, has done reading
or sending, or has closed is *said first, and then looked at*: who sends looks for more to send after having
said that he does not send any more, who adds something looks whether somebody sends after having added it.
Whatever the order in which two threads do so, one of them sees the other.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from typing import TYPE_CHECKING

from rpc.address import Tls

if TYPE_CHECKING:
    from rpc.blocking.secure import SecureSocket

CHUNK = 64 * 1024  # bytes taken from the socket at once
MOST_HELD = 3 * 1024  # bytes that wait for others to leave with: the peer is to work meanwhile
LONGEST = 3600.0  # seconds of one wait; poll(2) counts milliseconds in an int
POLLIN, POLLOUT = select.POLLIN, select.POLLOUT


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

    def __init__(self, host: str, port: int, timeout: float, tls: Tls | None = None) -> None:
        """Connect within `timeout` seconds for each address of `host`, the handshake of TLS included.

        Raises `ValueError`, too, if files of `tls` cannot be used.
        """
        self._socket: socket.socket | SecureSocket
        if tls is None:
            self._socket = connected = socket.create_connection((host, port), timeout)
        else:
            from rpc.blocking import secure  # brings Python's ssl

            connected = secure.connect(host, port, timeout, tls)
            self._socket = secure.SecureSocket(connected)
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._bell = Bell()
        self._rung = self._bell.fileno()  # what `poll` says if it is
        self._poll = select.poll()
        self._wanted = POLLIN  # what the reader asks of the socket
        self._poll.register(self._socket, POLLIN)
        self._poll.register(self._bell, POLLIN)
        # For what waits, for who sends it, and for the end; never held during a system call that waits.
        self._mutex = threading.Lock()
        self._waiting: list[bytes] = []  # to be written, in order, behind _rest
        self._rest: memoryview | None = None  # what the socket has not taken
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
            self._queued = place + len(data)
            if self._closed:
                return place
            self._waiting.append(data)
            if self._rest is not None:
                return place
            if held and not self._reading and self._queued - self._written < MOST_HELD:
                return place
            first = self._claim()
        if first is not None and not self._send(first):
            self.wake()
        return place

    def has_left(self, place: int) -> bool:
        """Tell whether any of the bytes written at `place` may have left this process."""
        return place < self._written

    def read(self, timeout: float) -> bytes:
        """Wait up to `timeout` seconds for bytes; b"" if none came, or woken.

        One thread at a time. Raises `OSError` when the connection has ended or is closed meanwhile.
        """
        data = b""
        try:
            self._reading = True
            if self._waiting or self._rest is not None or self._wanted != POLLIN or self._closed:
                self._see_to_writing()
            if not 0.0 <= timeout <= LONGEST:
                timeout = LONGEST if timeout > 0.0 else 0.0
            for descriptor, events in self._poll.poll(timeout * 1000):
                if descriptor == self._rung:
                    self._bell.hush()
                    continue
                if events != POLLOUT:  # readable, or broken: recv tells which
                    data = self._receive()
                if events & POLLOUT:
                    self._go_on()
            if self._closed:
                raise ConnectionError("closed")
            return data
        finally:
            self._reading = False
            if self._closed:
                with self._mutex:
                    self._release()

    def _see_to_writing(self) -> None:
        """Send what was left to who reads, and let `poll` tell when the socket takes more if it must."""
        if self._closed:
            raise ConnectionError("closed")
        if self._rest is None:
            self._go_on()
        # Another thread that sends rings if the socket does not take all.
        wanted = POLLIN if self._rest is None or self._writing else POLLIN | POLLOUT
        if wanted != self._wanted:
            self._poll.modify(self._socket, wanted)
            self._wanted = wanted

    def _receive(self) -> bytes:
        try:
            data = self._socket.recv(CHUNK)
        except BlockingIOError:  # nothing there after all (poll(2), "BUGS")
            return b""
        if not data:
            raise ConnectionError("closed by the broker")
        return data

    def _go_on(self) -> None:
        """Send what waits, unless another thread does."""
        with self._mutex:
            first = self._claim()
        if first is not None:
            self._send(first)

    def _claim(self) -> bytes | memoryview | None:
        """Become the one who sends, and return what comes first; None if another does, or nothing is left.

        With the mutex held.
        """
        if self._closed:
            self._release()
            return None
        data: bytes | memoryview | None = self._rest
        if self._writing or (data is None and not self._waiting):
            return None
        self._writing = True
        if data is None:
            data = b"".join(self._waiting)
            self._waiting.clear()
        self._rest = None
        return data

    def _send(self, first: bytes | memoryview) -> bool:
        """Send what was claimed and what is added meanwhile; False if the socket took only a part."""
        data: bytes | memoryview | None = first
        whole = True
        try:
            while data is not None:
                try:
                    count = self._socket.send(data)
                except BlockingIOError:
                    count = 0
                self._written += count
                whole = count == len(data)
                if not whole:
                    self._rest = memoryview(data)[count:]
                data = None
                self._writing = False
                if self._closed or (whole and self._waiting):
                    with self._mutex:
                        data = self._claim()
        except BaseException as error:
            # A frame may be cut in the middle, by Ctrl-C for one: nothing may follow it.
            with self._mutex:
                self._waiting.clear()
                self._rest = None
                self._shut()
                if data is not None:  # else it is another thread that sends, if any does
                    self._writing = False
                if self._closed:
                    self._release()
            if isinstance(error, OSError):
                return True  # `read` will find out
            raise
        return whole

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
