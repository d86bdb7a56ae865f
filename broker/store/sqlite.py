"""Durable queues in one SQLite file, for those who want a database that everything can open.

WAL with `synchronous=FULL`: a commit that returned survives a power cut. The layout is that of the LMDB
driver: `record` is clustered in the order of delivery, `lane` keeps the counts. Files of format 1 made before
there were marks have no table `mark`: it is made when they are opened.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from broker.store import Stored, StoredQueue, StoreError, StoreSettings, Writes
from broker.store.files import Claim, free_disk, make_directory, sync_names

FORMAT = 1
FULL_AT = 0.9  # of map_size
SPREAD = 4  # a record takes at most so many times its size: one byte too many is a page more

#: What SQLite says of a file that is not ours, or spoilt.
FOREIGN = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)

SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE queue (number INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE lane (queue INTEGER, place INTEGER, records INTEGER NOT NULL,
    PRIMARY KEY (queue, place)) WITHOUT ROWID;
CREATE TABLE record (queue INTEGER, place INTEGER, seq INTEGER, meta BLOB NOT NULL, tail BLOB NOT NULL,
    PRIMARY KEY (queue, place, seq)) WITHOUT ROWID;
"""
MARKS = "CREATE TABLE mark (key BLOB PRIMARY KEY, value BLOB NOT NULL)"


class SQLiteStore:
    """One SQLite file."""

    blocking = True

    def __init__(self, path: Path, settings: StoreSettings) -> None:
        self._path = path
        self._settings = settings
        make_directory(path.parent)
        self._claim = Claim(path.with_name(path.name + ".lock"))
        try:
            self._open()
        except BaseException:
            self._claim.release()
            raise

    def _open(self) -> None:
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreError(f"cannot open {self._path}: {error.strerror}") from None
        with ExitStack() as opened:
            try:
                self._db = opened.enter_context(closing(self._connect()))
                self._check_format()
                self._db.execute("PRAGMA journal_mode=WAL")
                self._reader = opened.enter_context(closing(self._connect()))
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode & 0xFF not in FOREIGN:  # the disk's fault
                    raise StoreError(f"cannot open {self._path}: {error}") from None
                raise StoreError(
                    f"{self._path} holds no data of hoofbeat that this version can read: {error}"
                ) from None
            opened.pop_all()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, check_same_thread=False)
        db.execute("PRAGMA synchronous=FULL")
        return db

    def _check_format(self) -> None:
        """Make the tables of a new file. Raises `StoreError` for one that is not ours, and leaves it as it is."""
        db = self._db
        tables = tables_of(db)
        if not tables:  # new, or killed before it was more than that
            db.executescript(SCHEMA + MARKS)
            node = self._settings.node or os.urandom(4).hex()
            self._set_meta(format=str(FORMAT), node=node, boot=str(self._settings.boot), clean="1")
            db.commit()
            return
        check_format(db, tables, self._path)
        if "mark" not in tables:
            db.execute(MARKS)

    def load(self) -> Stored:
        """Return what is there, from the counts and the marks alone."""
        sync_names(self._path.parent)
        stored = read_stored(self._db)
        boot = stored.boot + 1
        self._set_meta(boot=str(boot), clean="0")
        self._db.commit()
        return replace(stored, boot=boot)

    def read(
        self, queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        """Return the next records of a lane, as last committed."""
        return read_lane(self._reader, queue, priority, after, count, size)

    def write(self, batch: Writes) -> None:
        """Commit a batch."""
        db = self._db
        with db:
            db.executemany("INSERT INTO queue VALUES (?, ?)", batch.queues)
            db.executemany(
                "INSERT INTO record VALUES (?, 9 - ?, ?, ?, ?)",
                batch.puts,
            )
            db.executemany(
                "UPDATE record SET meta = ?4, tail = ?5"
                " WHERE queue = ?1 AND place = 9 - ?2 AND seq = ?3",
                batch.updates,
            )
            db.executemany(
                "DELETE FROM record WHERE queue = ?1 AND place = 9 - ?2 AND seq = ?3",
                [delete[:3] for delete in batch.deletes],
            )
            changes: Counter[tuple[int, int]] = Counter((put[0], put[1]) for put in batch.puts)
            changes.subtract(Counter((delete[0], delete[1]) for delete in batch.deletes))
            db.executemany(
                "INSERT INTO lane VALUES (?1, 9 - ?2, ?3)"
                " ON CONFLICT DO UPDATE SET records = records + ?3",
                [(queue, priority, change) for (queue, priority), change in changes.items()],
            )
            db.executemany(
                "DELETE FROM lane WHERE queue = ? AND place = 9 - ? AND records = 0", list(changes)
            )
            db.executemany(
                "DELETE FROM queue WHERE number = ?", [(number,) for number in batch.dropped]
            )
            marks = list(batch.marks)
            db.executemany(
                "INSERT INTO mark VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                [mark for mark in marks if mark[1] is not None],
            )
            db.executemany(
                "DELETE FROM mark WHERE key = ?", [(key,) for key, value in marks if value is None]
            )
            self._set_meta(next_seq=str(batch.next_seq))

    def room(self) -> int:
        """Return what the limit and the disk can still take."""
        pages, free, page = (
            int(self._reader.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        owed = max(0, pages * page - self._path.stat().st_size)  # the log has it, the file will
        on_disk = free * page - owed + free_disk(self._path.parent, self._settings.disk_reserve)
        limit = int(self._settings.map_size * FULL_AT)
        return min(limit - (pages - free) * page, on_disk) // SPREAD

    def close(self) -> None:
        """End the run."""
        with self._db:
            self._set_meta(clean="1")
        self._reader.close()
        self._db.close()
        self._claim.release()

    def _set_meta(self, **values: str) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)",
            list(values.items()),
        )


def tables_of(db: sqlite3.Connection) -> set[str]:
    """Return the names of all tables."""
    return {name for (name,) in db.execute("SELECT name FROM sqlite_master")}


def check_format(db: sqlite3.Connection, tables: set[str], path: Path) -> None:
    """Raise `StoreError` for a database that this version cannot read."""
    found = "none"
    if "meta" in tables:
        row = db.execute("SELECT value FROM meta WHERE name = 'format'").fetchone()
        found = row[0] if row else found
    if found != str(FORMAT):
        raise StoreError(f"{path} holds data of format {found}; this version reads format {FORMAT}")


def read_stored(db: sqlite3.Connection, marks: bool = True) -> Stored:
    """Return what a database holds, as the last run has left it. `marks`: it has some."""
    meta = dict(db.execute("SELECT name, value FROM meta"))
    queues = {
        number: StoredQueue(number, name)
        for number, name in db.execute("SELECT number, name FROM queue")
    }
    for number, place, records in db.execute("SELECT queue, place, records FROM lane"):
        queues[number].lanes[9 - place] = records
    return Stored(
        meta["node"],
        int(meta.get("boot", "0")),
        int(meta.get("next_seq", "1")),
        meta["clean"] == "1",
        list(queues.values()),
        dict(db.execute("SELECT key, value FROM mark")) if marks else {},
    )


def read_lane(
    db: sqlite3.Connection, queue: int, priority: int, after: int, count: int, size: int
) -> list[tuple[int, bytes, bytes]]:
    """Return the next records of a lane, as `Store.read` does."""
    rows: list[tuple[int, bytes, bytes]] = []
    cursor = db.execute(
        "SELECT seq, meta, tail FROM record WHERE queue = ? AND place = ? AND seq > ?"
        " ORDER BY seq LIMIT ?",
        (queue, 9 - priority, after, count),
    )
    for seq, meta, tail in cursor:
        size -= len(tail)
        if rows and size < 0:
            break
        rows.append((seq, meta, tail))
    cursor.close()
    return rows


def open_sqlite(path: str, settings: StoreSettings) -> SQLiteStore:
    """Open `sqlite:FILE`. Raises `StoreError`."""
    if not path:
        raise StoreError("sqlite needs a file, for example sqlite:./hoof.db")
    return SQLiteStore(Path(path), settings)
