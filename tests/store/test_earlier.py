"""Files that earlier versions made: they open, nothing in them is lost, and they can do what new ones can.

The layouts are written out here with the libraries alone, so that they stay as they were.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from broker.core.journal import Batch
from broker.store import open_store
from tests.store.conftest import SETTINGS
from tests.store.keeper import delete, put

SMALL = (1, 4, 7, b"meta", b"small")
LARGE = (1, 9, 8, b"meta", bytes(range(256)) * 400)  # more than one piece of 61,424 bytes


def lmdb_without_marks(path: Path) -> str:
    """Format 1 with five databases: 0.1."""
    with lmdb.open(str(path), max_dbs=8) as env:
        names = (b"meta", b"queue", b"lane", b"record", b"chunk")
        meta, queue, lane, record, chunk = (env.open_db(name) for name in names)
        with env.begin(write=True) as txn:
            for name, value in (
                (b"format", b"1"),
                (b"node", b"c0ffee00"),
                (b"boot", b"41"),
                (b"clean", b"1"),
                (b"next_seq", b"9"),
            ):
                txn.put(name, value, db=meta)
            txn.put(struct.pack(">I", 1), b"orders", db=queue)
            for number, priority, seq, about, tail in (SMALL, LARGE):
                place = struct.pack(">IB", number, 9 - priority)
                txn.put(place, struct.pack(">Q", 1), db=lane)
                if len(tail) < 61424:
                    value = b"\0" + bytes([len(about)]) + about + tail
                else:
                    value = b"\1" + bytes([len(about)]) + about + struct.pack(">Q", len(tail))
                    for piece in range(0, len(tail), 61424):
                        key = struct.pack(">QH", seq, piece // 61424)
                        txn.put(key, tail[piece : piece + 61424], db=chunk)
                txn.put(place + struct.pack(">Q", seq), value, db=record)
    return f"lmdb:{path}"


def sqlite_without_marks(path: Path) -> str:
    """Format 1 with four tables: 0.1."""
    db = sqlite3.connect(path / "hoof.db")
    db.executescript(
        """
        PRAGMA journal_mode=WAL;
        CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
        CREATE TABLE queue (number INTEGER PRIMARY KEY, name TEXT NOT NULL);
        CREATE TABLE lane (queue INTEGER, place INTEGER, records INTEGER NOT NULL,
            PRIMARY KEY (queue, place)) WITHOUT ROWID;
        CREATE TABLE record (queue INTEGER, place INTEGER, seq INTEGER, meta BLOB NOT NULL,
            tail BLOB NOT NULL, PRIMARY KEY (queue, place, seq)) WITHOUT ROWID;
        INSERT INTO meta VALUES
            ('format', '1'), ('node', 'c0ffee00'), ('boot', '41'), ('clean', '1'), ('next_seq', '9');
        INSERT INTO queue VALUES (1, 'orders');
        INSERT INTO lane VALUES (1, 5, 1), (1, 0, 1);
        """
    )
    for number, priority, seq, about, tail in (SMALL, LARGE):
        row = (number, 9 - priority, seq, about, tail)
        db.execute("INSERT INTO record VALUES (?, ?, ?, ?, ?)", row)
    db.commit()
    db.close()
    return f"sqlite:{path}/hoof.db"


@pytest.mark.parametrize("make", [lmdb_without_marks, sqlite_without_marks])
def test_a_file_made_before_there_were_marks(make: Callable[[Path], str], tmp_path: Path) -> None:
    url = make(tmp_path)
    store = open_store(url, SETTINGS)
    loaded = store.load()
    assert (loaded.node, loaded.boot, loaded.clean) == ("c0ffee00", 42, True)
    assert (loaded.next_seq, loaded.marks) == (9, {})
    assert [(queue.name, queue.lanes) for queue in loaded.queues] == [("orders", {4: 1, 9: 1})]
    assert store.read(1, 4, -1, 9, 1 << 20) == [SMALL[2:]]
    assert store.read(1, 9, -1, 9, 1 << 20) == [LARGE[2:]]
    store.write(Batch(10, puts=[put(1, 9)], deletes=[delete(LARGE)], marks=[(b"at", b"9")]))
    store.close()
    for boot in (43, 44):
        store = open_store(url, SETTINGS)
        loaded = store.load()
        assert (loaded.boot, loaded.marks) == (boot, {b"at": b"9"})
        assert loaded.queues[0].lanes == {4: 2}
        assert [seq for seq, _, _ in store.read(1, 4, -1, 9, 1 << 20)] == [7, 9]
        store.close()
