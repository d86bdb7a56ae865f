"""A TLS connection with a socket's methods, as far as `Stream` uses them: for one thread that reads and others that write.

How it differs from TCP, and what makes it look the same:

1. OpenSSL's connection is no two threads' at once, so each step of it is taken with a lock held. None of them waits,
   the connection is non-blocking. The lock is one that its thread may take again: a finalizer may write
   wherever Python runs, and that is never in the middle of a step;
2. one step reads or writes a record, of 16 KB at most. `send` goes on until the kernel takes no more. The record that it
   did not take whole must be begun again by the next `send`, with the same bytes: `Stream` sends first what
   was left, by itself. The bytes of such a record do not count as sent, and nobody can read them;
3. OpenSSL takes a whole record from the kernel or nothing, and we take all of it. So nothing is ever left inside that
   poll(2) would not tell of;
4. the handshake is over before the stream begins. What a broker asks for later, new keys, OpenSSL answers while it reads.

Only the end is said (close_notify), and not by a forked process, which closes and does not shut down.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from time import monotonic

from rpc.address import Tls
from rpc.tls import client_context

RECORD = 16 * 1024  # bytes that a record has at most (RFC 8446, section 5.1)
PAUSE = 20  # milliseconds for the kernel to take new keys, before reading is tried again


def connect(host: str, port: int, timeout: float, tls: Tls) -> ssl.SSLSocket:
    """Connect and shake hands: within `timeout` seconds, if the first address of `host` answers.

    Raises `OSError`, `ssl.SSLError` among them for a certificate that does not convince; `ValueError` for files that
    cannot be used (any more).
    """
    context, until = client_context(tls), monotonic() + timeout
    plain = socket.create_connection((host, port), timeout)
    with contextlib.closing(plain):  # it is empty once TLS has it
        plain.settimeout(max(0.001, until - monotonic()))
        return context.wrap_socket(plain, server_hostname=host)


class SecureSocket:
    """A connection over TLS, after the handshake and non-blocking. Errors are `OSError`, as a socket's."""

    def __init__(self, connected: ssl.SSLSocket) -> None:
        self._socket = connected
        self._lock = threading.RLock()
        self._over = False  # we have said the end, and OpenSSL is used no more

    def fileno(self) -> int:
        """Return what to poll."""
        return self._socket.fileno()

    def send(self, data: bytes | memoryview) -> int:
        """Send what the kernel takes, and return how much that is. The rest must come first the next time."""
        view, sent = memoryview(data), 0
        while sent < len(view):
            with self._lock:
                self._check()
                try:
                    sent += self._socket.send(view[sent : sent + RECORD])
                except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    break
        return sent

    def recv(self, size: int) -> bytes:
        """Return what has come, `size` bytes at most, which are a record's or more; b"" at the end.

        Raises `BlockingIOError` if nothing can be read yet.
        """
        records: list[bytes] = []
        room = size
        try:
            while room >= RECORD:
                with self._lock:
                    self._check()
                    record = self._socket.recv(room)
                records.append(record)
                room -= len(record)
                if len(record) < RECORD:  # a full one is seldom the last
                    break
        except OSError as error:  # a real one comes again
            if isinstance(error, ssl.SSLWantWriteError):
                self._pause()
            if not records and isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError):
                raise BlockingIOError from None
            if not records:
                raise
        return b"".join(records)

    def shutdown(self, how: int) -> None:
        """Say the end, unless another thread is in the middle of a step, and end the connection both ways."""
        if self._lock.acquire(blocking=False):
            try:
                if not self._over:
                    self._over = True  # first: what `unwrap` leaves behind would speak without TLS
                    with contextlib.suppress(OSError, ValueError):
                        self._socket.unwrap()
            finally:
                self._lock.release()
        # Not Python's, after which this socket would speak without TLS, too.
        socket.socket.shutdown(self._socket, how)

    def close(self) -> None:
        """Give the descriptor back, once no thread uses it."""
        self._socket.close()

    def _check(self) -> None:
        if self._over:
            raise ConnectionError("closed")

    def _pause(self) -> None:
        """Wait a moment for the kernel to take what OpenSSL must write before it reads on."""
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        poll.poll(PAUSE)
