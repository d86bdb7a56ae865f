"""An operator's tools for SQLite: see `broker.store.tools`.

A look is one read transaction of a connection that cannot write. As long as it is open, SQLite's log (the file
`-wal`) grows by what the broker writes.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from broker.store import Stored, StoreError
from broker.store.files import Claim, make_directory, sync
from broker.store.sqlite import check_format, read_lane, read_stored, tables_of
from broker.store.tools import AHEAD, Damaged, NoStore

TABLES = {"meta", "queue", "lane", "record"}  # that every file has
MOST = 100  # complaints of SQLite about one file

#: What must not be there, and how it is said.
FAULTS = (
    (
        "SELECT DISTINCT queue FROM lane WHERE queue NOT IN (SELECT number FROM queue)",
        "a lane belongs to queue {}, which is not there",
    ),
    (
        "SELECT queue, 9 - place, count(*) FROM record GROUP BY queue, place"
        " HAVING NOT EXISTS (SELECT 1 FROM lane"
        " WHERE lane.queue = record.queue AND lane.place = record.place)",
        "{2} records lie in lane {1} of queue {0}, which is not there",
    ),
    ("SELECT queue, 9 - place FROM lane WHERE place NOT BETWEEN 0 AND 9", "queue {} has a lane {}"),
    (
        "SELECT seq, queue FROM record WHERE typeof(meta) != 'blob' OR typeof(tail) != 'blob'",
        "record {} of queue {} is not made of bytes",
    ),
)


class SQLiteLook:
    """What one commit has left in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            if not path.stat().st_size:
                raise NoStore(f"nothing was ever stored in {path}")
        except FileNotFoundError:
            raise NoStore(f"there is no {path}") from None
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from None
        try:
            self._db = open_to_read(path)
        except sqlite3.Error as error:
            raise StoreError(f"cannot read {path}: {error}") from None
        try:
            self._db.execute("BEGIN")
            tables = tables_of(self._db)
            if not tables:
                raise NoStore(f"nothing was ever stored in {path}")
            check_format(self._db, tables, path)
            if not tables >= TABLES:
                missing = ", ".join(sorted(TABLES - tables))
                raise Damaged(f"{path}: what is missing is {missing}")
            self._has_marks = "mark" in tables
        except sqlite3.Error as error:
            self._db.close()
            raise Damaged(f"{path}: {error}") from None
        except StoreError:
            self._db.close()
            raise

    def load(self) -> Stored:
        """Return what is there."""
        return read_stored(self._db, self._has_marks)

    def read(
        self, queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        """Return the next records of a lane."""
        return read_lane(self._db, queue, priority, after, count, size)

    def faults(self) -> Iterator[str]:
        """Ask SQLite for what it finds wrong, then look how the tables fit together."""
        try:
            for (text,) in self._db.execute(f"PRAGMA integrity_check({MOST})"):
                if text != "ok":
                    yield from str(text).splitlines()
            for question, text in FAULTS:
                for row in self._db.execute(question):
                    yield text.format(*row)
        except sqlite3.Error as error:
            yield f"{self._path}: {error}"

    def close(self) -> None:
        """End the transaction."""
        self._db.close()


def look(path: str) -> SQLiteLook:
    """Look at `sqlite:FILE`. Raises `StoreError`."""
    return SQLiteLook(Path(path))


def copy(path: str, directory: Path) -> str:
    """Copy `sqlite:FILE` into a directory under its name; return the copy's path. Raises `StoreError`."""
    source = Path(path)
    look(path).close()
    make_directory(directory)
    made = directory / (source.name + ".part")
    try:
        os.close(os.open(made, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        with closing(open_to_read(source)) as db, closing(sqlite3.connect(made)) as own:
            db.backup(own)  # all pages at once: of one moment
            own.execute("PRAGMA journal_mode=DELETE")  # one file; a broker makes a log of its own
            own.execute("UPDATE meta SET value = value + ? WHERE name = 'boot'", (AHEAD,))
            own.commit()
    except (OSError, sqlite3.Error) as error:
        made.unlink(missing_ok=True)
        raise StoreError(f"cannot copy {source} to {made}: {error}") from None
    sync(made)
    copied = made.replace(directory / source.name)
    sync(directory)
    return str(copied)


def compact(path: str) -> tuple[int, int]:
    """Compact `sqlite:FILE`; return its bytes before and after. Raises `StoreError`.

    SQLite's own VACUUM does it, in one transaction. A file put in its place would meet the old one's log.
    """
    file = Path(path)
    look(path).close()
    with Claim(file.with_name(file.name + ".lock")):
        before = file.stat().st_size
        try:
            with closing(sqlite3.connect(file, timeout=0)) as db:
                db.execute("PRAGMA synchronous=FULL")
                db.execute("VACUUM")
                (busy, *_) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            raise StoreError(f"cannot compact {file}: {error}") from None
        if busy:
            raise StoreError(
                f"{file} is read by another process: it stays large until that has ended; try again then"
            )
        return before, file.stat().st_size


def open_to_read(path: Path) -> sqlite3.Connection:
    """Return a connection that can do nothing but read. It begins no transaction of its own."""
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
