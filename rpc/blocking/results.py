"""The results of idempotent calls in a file that several worker processes share, and that outlives them.

SQLite in WAL mode keeps the results. Who is running what stands there too, under the name of its process;
that a process lives is told by a lock on a file of its own, which the kernel lets go of when the process
dies, however it dies. So nobody waits for the dead, and no lease runs out under who is slow.

What that does not cover: a worker that is killed in the middle of a function. It will be run again, for
nobody knows how far it came; only the function itself can make its effect and the note of it one (in one
transaction of its own database). Processes on several machines: locks do not reach across, so each machine
needs a file of its own, or all a `rpc.SharedResults` over a database server.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from rpc.working.results import KEPT

MOST = 100_000  # results
BUSY = 10.0  # seconds to wait for another process that writes
STALE = 8  # old results that are deleted with each new one, more than can have come meanwhile

SCHEMA = """
CREATE TABLE IF NOT EXISTS results (number INTEGER PRIMARY KEY, key TEXT UNIQUE, until REAL, value BLOB);
CREATE TABLE IF NOT EXISTS running (key TEXT PRIMARY KEY, owner TEXT) WITHOUT ROWID;
"""


class SqliteResults:
    """Keeps results in a file; for `Worker(results=...)` in any number of processes of one machine.

    Thread-safe, and safe to be inherited by `fork`. A result is safe from the death of any process once `put`
    returns, and from a power cut too with `full_sync`, which costs a flush of the disk for each.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        seconds: float = KEPT,
        most: int = MOST,
        *,
        full_sync: bool = False,
    ) -> None:
        """Open or make the file; others called like it appear beside it.

        A result is kept for `seconds`, and not more than `most` of them. Raises `ValueError` for
        numbers that make no sense, and `sqlite3.Error` or `OSError` for a file that cannot be used.
        """
        if not seconds > 0:
            raise ValueError(f"Results are kept for a positive number of seconds, not {seconds!r}")
        if most < 1:
            raise ValueError(f"most is a number of results from 1 on, not {most!r}")
        self._path = Path(path).absolute()
        self._seconds = seconds
        self._most = most
        self._full_sync = full_sync
        self._mutex = threading.Lock()  # guards all below
        self._is_open = self._is_closed = False
        self._strangers: list[
            object
        ] = []  # connections of the process that forked us: never touched
        self._open()
        _all.add(self)

    def _open(self) -> None:
        """Begin as this process."""
        self._owner = uuid.uuid4().hex
        self._lock = os.open(self._sign(self._owner), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self._data = sqlite3.connect(
                self._path, timeout=BUSY, isolation_level=None, check_same_thread=False
            )
            self._data.execute("PRAGMA journal_mode = WAL")
            self._data.execute(f"PRAGMA synchronous = {'FULL' if self._full_sync else 'NORMAL'}")
            self._data.executescript(SCHEMA)
            self._is_open = True
            with self._transaction() as data:
                for (owner,) in data.execute("SELECT DISTINCT owner FROM running").fetchall():
                    if not self._lives(owner):
                        data.execute("DELETE FROM running WHERE owner = ?", (owner,))
        except BaseException:
            self._leave()
            raise

    def _sign(self, owner: str) -> Path:
        """Return the file by whose lock an owner is known to live."""
        return self._path.with_name(f"{self._path.name}-{owner}.lock")

    def get(self, key: str) -> bytes | None:
        """Return what was kept under a key, unless it is too old."""
        with self._mutex:
            found = self._mine().execute(
                "SELECT value FROM results WHERE key = ? AND until > ?", (key, time.time())
            )
            row = found.fetchone()
        return None if row is None else bytes(row[0])

    def put(self, key: str, value: bytes) -> None:
        """Keep a value, and let others have the key."""
        now = time.time()
        with self._mutex, self._transaction() as data:
            cursor = data.execute(
                "INSERT OR REPLACE INTO results (key, until, value) VALUES (?, ?, ?)",
                (key, now + self._seconds, value),
            )
            data.execute("DELETE FROM running WHERE key = ? AND owner = ?", (key, self._owner))
            # Numbers only grow, so the oldest have the lowest.
            last = cursor.lastrowid or 0
            data.execute("DELETE FROM results WHERE number <= ?", (last - self._most,))
            data.execute(
                "DELETE FROM results WHERE until <= ? AND number IN"
                " (SELECT number FROM results ORDER BY number LIMIT ?)",
                (now, STALE),
            )

    def claim(self, key: str) -> bool:
        """Note that this process runs what has this key; False if one that lives does, or has."""
        with self._mutex, self._transaction() as data:
            done = data.execute(
                "SELECT 1 FROM results WHERE key = ? AND until > ?", (key, time.time())
            )
            if done.fetchone() is not None:
                return False
            row = data.execute("SELECT owner FROM running WHERE key = ?", (key,)).fetchone()
            if row is not None and self._lives(row[0]):
                return False
            data.execute("INSERT OR REPLACE INTO running VALUES (?, ?)", (key, self._owner))
            return True

    def release(self, key: str) -> None:
        """What was claimed has ended without a result."""
        with self._mutex, self._transaction() as data:
            data.execute("DELETE FROM running WHERE key = ? AND owner = ?", (key, self._owner))

    def close(self) -> None:
        """Let go of the file; what was claimed is released."""
        with self._mutex:
            if self._is_open:
                with self._transaction() as data:
                    data.execute("DELETE FROM running WHERE owner = ?", (self._owner,))
                self._data.close()
                self._leave()
            self._is_open, self._is_closed = False, True

    def _leave(self) -> None:
        """Be gone, in others' eyes."""
        self._sign(self._owner).unlink(missing_ok=True)
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _mine(self) -> sqlite3.Connection:
        """Return the connection of this very process. Raises `sqlite3.ProgrammingError` if it was closed."""
        if self._is_closed:
            raise sqlite3.ProgrammingError("The results were closed")
        if not self._is_open:
            self._open()
        return self._data

    def after_fork(self) -> None:
        """Begin anew in a child, as soon as it needs us."""
        self._mutex = threading.Lock()
        if self._is_open:
            self._is_open = False
            self._strangers.append(self._data)  # to close it here would free its owner's locks
            os.close(self._lock)  # or its owner would seem to live as long as we do

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Do all of something, or nothing."""
        data = self._mine()
        data.execute("BEGIN IMMEDIATE")
        try:
            yield data
        except BaseException:
            data.execute("ROLLBACK")
            raise
        data.execute("COMMIT")

    def _lives(self, owner: str) -> bool:
        """Tell whether an owner is alive, and tidy up after one that is not."""
        if owner == self._owner:
            return True
        sign = self._sign(owner)
        try:
            lock = os.open(sign, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        sign.unlink(missing_ok=True)
        return False


_all: weakref.WeakSet[SqliteResults] = weakref.WeakSet()


def _after_fork() -> None:
    for results in list(_all):
        results.after_fork()


os.register_at_fork(after_in_child=_after_fork)
