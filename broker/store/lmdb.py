r"""Durable queues in LMDB, the default.

Full sync always (LMDB's defaults): a commit that returned survives a power cut. There is no setting that
would change this. One environment, six named databases:

    meta    name                                    format, node, boot, next_seq, clean
    queue   queue u32                               name
    lane    queue u32 | 9-priority u8               number of records u64
    record  queue u32 | 9-priority u8 | seq u64     kind u8 | length of meta u8 | meta | tail
    chunk   seq u64 | chunk u16                     60 KB of a large tail (`record` has its length u64)
    mark    key                                     value, in one piece

Keys are big endian, so key order is the order of delivery; a lane is one range. Large tails are cut up
because LMDB looks for runs of free pages, and long runs become rare (measured stalls elsewhere). Marks are
few and mostly small: they are not.

The file never shrinks; freed pages are used again. A delete copies pages before it frees any, and what one
batch frees can be used only by the one after the next, so a full map could never be drained. Two things
keep that away: `room` ends at nine tenths of `map_size`, and the map itself is larger than that, by enough
for two batches which touch every page. Only the address space of the process pays for it.

Format 1. Files made before there were marks have no `mark`: it is made when they are opened, and nothing else
changes. The first ones were cut up at 61,440 bytes, so that a few tails are in one piece that would be in two now.
Whoever changes more: a new FORMAT, an upgrade in `_check_format`, a fixture of the old one.
"""

from __future__ import annotations

import os
import struct
import sys
from dataclasses import replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import lmdb

from broker.store import Stored, StoredQueue, StoreError, StoreSettings, Writes
from broker.store.files import Claim, free_disk, make_directory, sync_names

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = 1
DATABASES = (b"meta", b"queue", b"lane", b"record", b"chunk", b"mark")
WHOLE, CHUNKED = 0, 1  # kinds of record
CHUNK = 15 * 4096 - 16  # bytes: with LMDB's header, 15 pages; a larger tail is cut up
FIRST_CHUNK = 60 * 1024  # as it was at first
FULL_AT = 0.9  # of map_size
SPREAD = 3  # a record takes at most so many times its size: pages are half full, at worst
COPIES = 3  # of every page: what is true, and two batches that touch all of it
SLACK = 1024**3  # bytes: the same for what one batch may take beyond nine tenths
PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes; LMDB takes that of the system
UNMADE = 4 * PAGE  # bytes that a file has at most before its first commit
MAGIC = (0xBEEFC0DE).to_bytes(4, sys.byteorder)
MAGIC_AT, TXN_AT = slice(16, 20), slice(144, 152)  # places in LMDB's first two pages
READERS_EVERY = 1000  # batches between two looks for readers that died

U32 = struct.Struct(">I")
U64 = struct.Struct(">Q")
LANE = struct.Struct(">IB")
RECORD = struct.Struct(">IBQ")
PIECE = struct.Struct(">QH")


class LMDBStore:
    """A directory with an LMDB environment."""

    blocking = True

    def __init__(self, directory: Path, settings: StoreSettings) -> None:
        self._directory = directory
        self._settings = settings
        make_directory(directory)
        self._claim = Claim(directory / "hoofbeat.lock")
        try:
            self._open()
        except BaseException:
            self._claim.release()
            raise
        self._lanes: dict[tuple[int, int], int] = {}  # (queue, priority) → records
        self._used = 0  # bytes of pages in use
        self._batches = 0

    def _open(self) -> None:
        put_aside_unmade(self._directory / "data.mdb")
        try:
            self._env = lmdb.open(
                str(self._directory),
                map_size=self._settings.map_size * COPIES + SLACK,
                max_dbs=8,
                mode=0o600,
                readahead=False,  # backlogs may be larger than memory
                max_spare_txns=1,
            )
        except (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.CorruptedError) as error:
            raise StoreError(
                f"{self._directory} holds no data of hoofbeat that this version can read: {error}"
            ) from None
        except (lmdb.Error, OSError, OverflowError) as error:
            raise StoreError(f"cannot open {self._directory}: {error}") from None
        try:
            with self._env.begin(write=True) as txn:
                self._check_format(txn)
            self._databases = [self._env.open_db(name) for name in DATABASES]
        except lmdb.Error as error:
            self._env.close()
            raise StoreError(f"cannot write to {self._directory}: {error}") from None
        except StoreError:
            self._env.close()
            raise
        self._meta, self._queue, self._lane, self._record, self._chunk, self._mark = self._databases

    def _check_format(self, txn: lmdb.Transaction) -> None:
        if not txn.stat()["entries"]:  # new, or killed before it was more than that
            meta = self._env.open_db(b"meta", txn=txn)
            txn.put(b"format", str(FORMAT).encode(), db=meta)
            node = self._settings.node or os.urandom(4).hex()
            txn.put(b"node", node.encode(), db=meta)
            txn.put(b"boot", str(self._settings.boot).encode(), db=meta)
            txn.put(b"clean", b"1", db=meta)
            return
        check_format(self._env, txn, self._directory)

    def load(self) -> Stored:
        """Return what is there, from the counts and the marks alone."""
        self._env.reader_check()
        sync_names(self._directory)
        with self._env.begin(write=True) as txn:
            stored = read_stored(txn, self._meta, self._queue, self._lane, self._mark)
            boot = stored.boot + 1
            txn.put(b"boot", str(boot).encode(), db=self._meta)
            txn.put(b"clean", b"0", db=self._meta)
            self._measure(txn)
        for queue in stored.queues:
            for priority, count in queue.lanes.items():
                self._lanes[queue.number, priority] = count
        return replace(stored, boot=boot)

    def read(
        self, queue: int, priority: int, after: int, count: int, size: int
    ) -> list[tuple[int, bytes, bytes]]:
        """Return the next records of a lane, as last committed."""
        with self._env.begin() as txn:
            return read_lane(txn, self._record, self._chunk, queue, priority, after, count, size)

    def write(self, batch: Writes) -> None:
        """Commit a batch."""
        with self._env.begin(write=True) as txn:
            changed: dict[tuple[int, int], int] = {}
            for number, name in batch.queues:
                txn.put(U32.pack(number), name.encode(), db=self._queue)
            records = []
            for queue, priority, seq, meta, tail in batch.puts:
                lane = queue, priority
                changed[lane] = changed.get(lane, 0) + 1
                if len(tail) > CHUNK:
                    self._cut(txn, seq, tail)
                records.append(self._pair(queue, priority, seq, meta, tail))
            for queue, priority, seq, meta, tail in batch.updates:
                if CHUNK < len(tail) <= FIRST_CHUNK:
                    self._cut(txn, seq, tail)  # it may be in one piece
                records.append(self._pair(queue, priority, seq, meta, tail))
            if records:
                with txn.cursor(db=self._record) as cursor:
                    cursor.putmulti(records)
            delete = txn.delete
            for queue, priority, seq, size in batch.deletes:
                lane = queue, priority
                changed[lane] = changed.get(lane, 0) - 1
                delete(RECORD.pack(queue, 9 - priority, seq), db=self._record)
                if size > CHUNK:
                    for piece in range(-(-size // CHUNK)):
                        delete(PIECE.pack(seq, piece), db=self._chunk)
            for (queue, priority), change in changed.items():
                self._count(txn, queue, priority, change)
            for number in batch.dropped:
                txn.delete(U32.pack(number), db=self._queue)
            for mark, content in batch.marks:
                if content is None:
                    delete(mark, db=self._mark)
                else:
                    txn.put(mark, content, db=self._mark)
            txn.put(b"next_seq", str(batch.next_seq).encode(), db=self._meta)
            self._measure(txn)
        self._batches += 1
        if self._batches % READERS_EVERY == 0:
            self._env.reader_check()

    def room(self) -> int:
        """Return what the map and the disk can still take."""
        pages = self._env.info()["last_pgno"] + 1
        reusable = pages * self._page - self._used
        on_disk = reusable + free_disk(self._directory, self._settings.disk_reserve)
        return min(int(self._settings.map_size * FULL_AT) - self._used, on_disk) // SPREAD

    def close(self) -> None:
        """End the run."""
        with self._env.begin(write=True) as txn:
            txn.put(b"clean", b"1", db=self._meta)
        self._env.close()
        self._claim.release()

    def _count(self, txn: lmdb.Transaction, queue: int, priority: int, change: int) -> None:
        key = LANE.pack(queue, 9 - priority)
        count = self._lanes.get((queue, priority), 0) + change
        if count:
            self._lanes[queue, priority] = count
            txn.put(key, U64.pack(count), db=self._lane)
        else:
            self._lanes.pop((queue, priority), None)
            txn.delete(key, db=self._lane)

    @staticmethod
    def _pair(queue: int, priority: int, seq: int, meta: bytes, tail: bytes) -> tuple[bytes, bytes]:
        key = RECORD.pack(queue, 9 - priority, seq)
        if len(tail) > CHUNK:
            return key, b"%c%c%b%b" % (CHUNKED, len(meta), meta, U64.pack(len(tail)))
        return key, b"%c%c%b%b" % (WHOLE, len(meta), meta, tail)

    def _cut(self, txn: lmdb.Transaction, seq: int, tail: bytes) -> None:
        view = memoryview(tail)
        for piece, start in enumerate(range(0, len(tail), CHUNK)):
            txn.put(PIECE.pack(seq, piece), view[start : start + CHUNK], db=self._chunk)

    def _measure(self, txn: lmdb.Transaction) -> None:
        """Count the pages in use; O(1) each database, and freed pages do not count."""
        pages = 8  # both meta pages, and the main database that names the others
        for database in self._databases:
            stat = txn.stat(database)
            pages += stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
            self._page: int = stat["psize"]
        self._used = pages * self._page


def check_format(env: lmdb.Environment, txn: lmdb.Transaction, directory: Path) -> None:
    """Raise `StoreError` for an environment that this version cannot read."""
    try:
        meta = env.open_db(b"meta", txn=txn, create=False)
        found = bytes(txn.get(b"format", db=meta) or b"none").decode(errors="replace")
    except lmdb.NotFoundError:
        found = "none"
    if found != str(FORMAT):
        raise StoreError(
            f"{directory} holds data of format {found}; this version reads format {FORMAT}"
        )


def read_stored(
    txn: lmdb.Transaction,
    meta: lmdb._Database,
    queue: lmdb._Database,
    lane: lmdb._Database,
    mark: lmdb._Database | None,
) -> Stored:
    """Return what the databases of these names hold, which the last run has left so."""
    about = {bytes(key): bytes(value) for key, value in txn.cursor(db=meta)}
    queues: dict[int, StoredQueue] = {}
    for key, name in txn.cursor(db=queue):
        (number,) = U32.unpack(key)
        queues[number] = StoredQueue(number, bytes(name).decode())
    for key, value in txn.cursor(db=lane):
        number, place = LANE.unpack(key)
        (queues[number].lanes[9 - place],) = U64.unpack(value)
    marks = {} if mark is None else {bytes(key): bytes(v) for key, v in txn.cursor(db=mark)}
    return Stored(
        about[b"node"].decode(),
        int(about.get(b"boot", b"0")),
        int(about.get(b"next_seq", b"1")),
        about[b"clean"] == b"1",
        list(queues.values()),
        marks,
    )


def read_lane(
    txn: lmdb.Transaction,
    record: lmdb._Database,
    chunk: lmdb._Database,
    queue: int,
    priority: int,
    after: int,
    count: int,
    size: int,
) -> list[tuple[int, bytes, bytes]]:
    """Return the next records of a lane, as `Store.read` does."""
    rows: list[tuple[int, bytes, bytes]] = []
    place, unpack = 9 - priority, RECORD.unpack
    # Copies, not buffers: for small values, four memoryviews cost more than a second copy.
    with txn.cursor(db=record) as cursor:
        if not cursor.set_range(RECORD.pack(queue, place, after + 1)):
            return rows
        found = cast("Iterator[tuple[bytes, bytes]]", islice(cursor, count))
        for key, value in found:
            of_queue, at_place, seq = unpack(key)
            if at_place != place or of_queue != queue:
                break
            end = 2 + value[1]
            whole = value[0] == WHOLE
            size -= len(value) - end if whole else U64.unpack_from(value, end)[0]
            if size < 0 and rows:
                break
            rows.append((seq, value[2:end], value[end:] if whole else _join(txn, chunk, seq)))
    return rows


def _join(txn: lmdb.Transaction, chunk: lmdb._Database, seq: int) -> bytes:
    prefix = U64.pack(seq)
    tail = BytesIO()  # one piece at a time: a second copy of 100 MB would not go unnoticed
    with txn.cursor(db=chunk) as cursor:
        cursor.set_range(PIECE.pack(seq, 0))
        for key, value in cursor:
            if key[:8] != prefix:
                break
            tail.write(value)
    return tail.getvalue()


def put_aside_unmade(file: Path) -> None:
    """Rename a file whose making was cut short by a power cut: LMDB would refuse it for ever.

    LMDB begins with two pages that say what it is, and syncs them with its first commit, which writes two more.
    So a file that is no longer, and lacks one of them while the other knows of no commit, has never held anything.
    """
    try:
        size = file.stat().st_size
        data = file.read_bytes() if size <= UNMADE else b""
    except OSError:  # there is none yet, or LMDB will say what is wrong
        return
    pages = [page for page in (data[:PAGE], data[PAGE : 2 * PAGE]) if page.strip(b"\0")]
    if (
        data
        and len(pages) < 2
        and all(page[MAGIC_AT] == MAGIC and not any(page[TXN_AT]) for page in pages)
    ):
        file.replace(file.with_name("data.mdb.unmade"))


def open_lmdb(path: str, settings: StoreSettings) -> LMDBStore:
    """Open `lmdb:DIRECTORY`. Raises `StoreError`."""
    return LMDBStore(Path(path or "."), settings)
