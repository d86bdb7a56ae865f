"""What the first versions wrote, to the letter: it is whole, a broker serves it, and it is whole afterwards.

Nothing in here is made by the broker's own code, so that it stays as it was. What differed then:

- LMDB: no database `mark`; tails were cut up at 61,440 bytes, so that one of 61,430 was in one piece;
- SQLite: no table `mark`;
- records of messages had format 1, without a group;
- tails had no timestamp;
- the status of a tracked message did not say whether it had copies.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from hashlib import blake2b
from pathlib import Path

import lmdb
import pytest

from tests.commands.conftest import Shell
from tests.harness import BrokerProcess
from tests.keeping.conftest import LMDB, SQLITE
from tests.scenarios.administrator import Administrator
from tests.scenarios.steps import accepted, ack, drain, put, subscribe, take

Start = Callable[..., BrokerProcess]

PIECE = 60 * 1024
PLAIN, REDELIVERED = 1, 2
QUEUES = {1: "orders", 2: "large", 3: "\0tracked", 4: "\0tracked ends"}
ABOUT = {"format": "1", "node": "c0ffee00", "boot": "41", "clean": "1", "next_seq": "100"}
EDGE = b"e" * 61_380  # with its headers more than a piece of today, and less than one of then
LARGE = bytes(range(256)) * 800


def message(number: int, body: bytes, headers: bytes = b"") -> bytes:
    """Return a tail."""
    return b"message-id:hoof-c0ffee00-1-%d\n%bcontent-length:%d\n\n%b\0\n" % (
        number,
        headers,
        len(body),
        body,
    )


def meta(flags: int = PLAIN, returns: int = 0, expires: int = 0) -> bytes:
    """Return the first piece of a record."""
    return struct.pack(">BBBQ", 1, flags, returns, expires)


PART = (1 << 61) + (int.from_bytes(blake2b(b"j-1", digest_size=8).digest(), "big") >> 14 << 10)
STATUS = [
    "j-1",
    "",
    "/queue/jobs",
    "hoof-c0ffee00-1-20",
    "",
    ["processed"],
    1_790_000_000_000,
    True,
]

#: queue, priority, number, meta, tail
RECORDS = [
    (1, 4, 7, meta(), message(7, b"one")),
    (1, 4, 8, meta(PLAIN | REDELIVERED, 2), message(8, b"two", b"color:red\n")),
    (1, 9, 9, meta(0), message(9, b"urgent", b"a:x\\cy\n")),
    (1, 4, 10, meta(expires=4_102_444_800_000), message(10, b"three")),
    (2, 4, 11, meta(), message(11, EDGE)),
    (2, 4, 12, meta(), message(12, LARGE)),
    (3, 4, PART, meta(returns=3, expires=1_790_000_000_000), json.dumps([1, *STATUS]).encode()),
    (4, 4, 21, meta(expires=4_102_444_800_000), b"%d" % PART),
]


def counts() -> dict[tuple[int, int], int]:
    """Return the number of records of each lane: queue, place."""
    found: dict[tuple[int, int], int] = {}
    for queue, priority, *_ in RECORDS:
        found[queue, 9 - priority] = found.get((queue, 9 - priority), 0) + 1
    return found


def make_lmdb(directory: Path) -> None:
    """Write five databases."""
    with lmdb.open(str(directory / "data"), max_dbs=8) as env:
        names = (b"meta", b"queue", b"lane", b"record", b"chunk")
        about, queue, lane, record, chunk = (env.open_db(name) for name in names)
        with env.begin(write=True) as txn:
            for name, value in ABOUT.items():
                txn.put(name.encode(), value.encode(), db=about)
            for number, text in QUEUES.items():
                txn.put(struct.pack(">I", number), text.encode(), db=queue)
            for place, count in counts().items():
                txn.put(struct.pack(">IB", *place), struct.pack(">Q", count), db=lane)
            for number, priority, seq, first, tail in RECORDS:
                key = struct.pack(">IBQ", number, 9 - priority, seq)
                if len(tail) <= PIECE:
                    txn.put(key, b"\0%c%b%b" % (len(first), first, tail), db=record)
                    continue
                length = struct.pack(">Q", len(tail))
                txn.put(key, b"\1%c%b%b" % (len(first), first, length), db=record)
                for piece in range(0, len(tail), PIECE):
                    place_of = struct.pack(">QH", seq, piece // PIECE)
                    txn.put(place_of, tail[piece : piece + PIECE], db=chunk)


def make_sqlite(directory: Path) -> None:
    """Write four tables."""
    (directory / "files").mkdir()
    with closing(sqlite3.connect(directory / "files" / "hoof.db")) as db:
        db.executescript(
            """
            PRAGMA journal_mode=WAL;
            CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
            CREATE TABLE queue (number INTEGER PRIMARY KEY, name TEXT NOT NULL);
            CREATE TABLE lane (queue INTEGER, place INTEGER, records INTEGER NOT NULL,
                PRIMARY KEY (queue, place)) WITHOUT ROWID;
            CREATE TABLE record (queue INTEGER, place INTEGER, seq INTEGER, meta BLOB NOT NULL,
                tail BLOB NOT NULL, PRIMARY KEY (queue, place, seq)) WITHOUT ROWID;
            """
        )
        db.executemany("INSERT INTO meta VALUES (?, ?)", ABOUT.items())
        db.executemany("INSERT INTO queue VALUES (?, ?)", QUEUES.items())
        db.executemany("INSERT INTO lane VALUES (?, ?, ?)", [(*k, n) for k, n in counts().items()])
        rows = [(queue, 9 - priority, *rest) for queue, priority, *rest in RECORDS]
        db.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", rows)
        db.commit()


@pytest.mark.parametrize(("store", "make"), [(LMDB, make_lmdb), (SQLITE, make_sqlite)])
def test_what_the_first_versions_wrote(
    shell: Shell, start: Start, tmp_path: Path, store: str, make: Callable[[Path], None]
) -> None:
    assert 15 * 4096 - 16 < len(RECORDS[4][4]) <= PIECE
    make(tmp_path)
    seen = shell("check", "--store", store)
    assert seen.status == 0, seen
    assert "6 messages in queues" in seen.out
    exported = shell("export", "--store", store).out
    assert "meta64" not in exported

    broker = start(store)
    with broker.connect() as client:
        subscribe(client, "/queue/large", ack="client-individual")
        edge, large = take(client, 2)
        assert (edge.body, large.body) == (EDGE, LARGE)
        client.send("NACK", id=edge.headers["ack"], requeue="true")
        assert take(client, 1)[0].body == EDGE
        put(client, "/queue/other", b"so that it is on disk that it was given back")
    broker.kill()

    broker = start(store)
    with broker.connect() as client:
        subscribe(client, "/queue/large", ack="client-individual")
        edge, large = take(client, 2)
        assert (edge.body, large.body) == (EDGE, LARGE)
        for frame in edge, large:
            accepted(ack(client, frame))
        subscribe(client, "/queue/orders", id="o")
        urgent, one, two, three = take(client, 4)
        assert (urgent.body, urgent.headers["a"]) == (b"urgent", "x:y")
        assert (one.body, two.body, three.body) == (b"one", b"two", b"three")
        assert two.headers["JMSXDeliveryCount"] >= "3"
        assert two.headers["color"] == "red"
        assert drain(client, "/queue/other") != []
    with broker.connect() as client:
        tracked = Administrator(client).call("tracked", "j-1")
        assert tracked["status"] == "FAILED"
    assert broker.stop() == 0
    seen = shell("check", "--store", store)
    assert (seen.status, "0 messages in queues" in seen.out) == (0, False), seen
    assert "1 statuses of tracked messages" in seen.out


@pytest.mark.parametrize(("store", "make"), [(LMDB, make_lmdb), (SQLITE, make_sqlite)])
def test_an_export_of_it_is_one_of_today(
    shell: Shell, tmp_path: Path, store: str, make: Callable[[Path], None]
) -> None:
    make(tmp_path)
    exported = shell("export", "--store", store).out
    assert shell("import", "--store", "lmdb:new", given=exported).status == 0
    assert (
        shell("export", "--store", "lmdb:new").out.split("\n", 1)[1] == exported.split("\n", 1)[1]
    )
    assert shell("check", "--store", "lmdb:new").status == 0
