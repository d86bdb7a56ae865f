"""The disk that a power cut leaves behind is the right one: small traces, and all that may be there afterwards."""

from __future__ import annotations

import random
from pathlib import Path

from tests.faults.disk import Disk, sectors
from tests.faults.trace import WROTE, Event, Reader, headers, receipts


def hexed(text: str) -> str:
    """Return a string as strace writes it with -xx."""
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def line(call: str, *, thread: int = 1) -> str:
    """Return a line of strace: "…" is a string, <…> a path, as they are for a reader."""
    parts = call.split('"')
    parts[1::2] = [f'"{hexed(part)}"' for part in parts[1::2]]
    text = "".join(parts)
    for path in ("/d/a", "/d", "/elsewhere"):
        text = text.replace(f"<{path}>", f"<{hexed(path)}>")
    return f"{thread} {text}\n"


def events_of(*calls: str) -> list[Event]:
    """Return the events beneath /d."""
    return Reader(Path("/d")).read(map(line, calls))


def outcomes(*calls: str) -> set[bytes | None]:
    """Return what may be in the file a after these calls and a power cut; None: it is not there."""
    disk, found = Disk("/d"), set()
    for index, event in enumerate(events_of(*calls)):
        disk.play(index, event)
    for seed in range(300):
        left = disk.crash(random.Random(seed))
        found.add(bytes(left.files.get("/d/a", b"")) if "/d/a" in left.names else None)
    return found


MADE = 'openat(AT_FDCWD, "/d/a", O_RDWR|O_CREAT, 0600) = 3</d/a>'
NAMED = "fsync(4</d>) = 0"
WRITES = (
    'pwrite64(3</d/a>, "one", 3, 0) = 3',
    'pwrite64(3</d/a>, "two", 3, 3) = 3',
)
SYNC = "fdatasync(3</d/a>) = 0"


def test_what_was_synced_is_there() -> None:
    assert outcomes(MADE, NAMED, *WRITES, SYNC) == {b"onetwo"}


def test_what_was_not_synced_may_be_there_or_not_in_any_order() -> None:
    assert outcomes(MADE, NAMED, *WRITES) == {b"", b"one", b"\0\0\0two", b"onetwo"}


def test_only_what_came_before_the_sync_is_certain() -> None:
    assert outcomes(MADE, NAMED, WRITES[0], SYNC, WRITES[1]) == {b"one", b"onetwo"}


def test_a_sync_of_another_file_counts_for_nothing() -> None:
    assert outcomes(MADE, NAMED, WRITES[0], "fdatasync(9</elsewhere>) = 0") == {b"", b"one"}


def test_a_sync_that_failed_counts_for_nothing() -> None:
    failed = "fdatasync(3</d/a>) = -1 EIO (Input/output error)"
    assert outcomes(MADE, NAMED, WRITES[0], failed) == {b"", b"one"}


def test_a_name_is_there_when_its_directory_was_synced() -> None:
    assert outcomes(MADE, WRITES[0], SYNC) == {None, b"one"}


def test_a_file_that_is_opened_to_sync_every_write() -> None:
    dsync = 'openat(AT_FDCWD, "/d/a", O_WRONLY|O_DSYNC) = 5</d/a>'
    synced = 'pwrite64(5</d/a>, "ONE", 3, 0) = 3'
    assert outcomes(MADE, dsync, NAMED, WRITES[1], synced) == {b"ONE", b"ONEtwo"}


def test_write_and_writev_go_on_where_they_were() -> None:
    calls = (
        'write(3</d/a>, "one", 3) = 3',
        'writev(3</d/a>, [{iov_base="t", iov_len=1}, {iov_base="wo", iov_len=2}], 2) = 3',
        "lseek(3</d/a>, 1, SEEK_SET) = 1",
        'write(3</d/a>, "N", 1) = 1',
    )
    assert outcomes(MADE, NAMED, *calls, SYNC) == {b"oNetwo"}


def test_a_call_that_another_thread_interrupts() -> None:
    """A write counts from its begin; a sync for what came before it began, and only when it has ended."""
    lines = [
        line(MADE),
        line(NAMED),
        line('pwrite64(3</d/a>, "one", 3, 0 <unfinished ...>', thread=2),
        line("fdatasync(3</d/a> <unfinished ...>", thread=1),
        line("<... pwrite64 resumed>) = 3", thread=2),
        line(WRITES[1], thread=2),
        line("<... fdatasync resumed>) = 0", thread=1),
    ]
    disk = Disk("/d")
    for index, event in enumerate(Reader(Path("/d")).read(lines)):
        disk.play(index, event)
    assert [event.data for event in disk.pending.values()] == [b"two"]


def test_sectors() -> None:
    event = Event(WROTE, "/d/a", b"x" * 1000, 300)
    assert [(each.place, len(each.data)) for each in sectors(event, 512)] == [
        (300, 212),
        (512, 512),
        (1024, 276),
    ]


def test_it_is_written_where_the_store_can_open_it(tmp_path: Path) -> None:
    disk = Disk("/d")
    made = 'mkdir("/d/sub", 0700) = 0'
    inside = 'openat(AT_FDCWD, "/d/sub/b", O_RDWR|O_CREAT, 0600) = 6</d/sub/b>'.replace(
        "</d/sub/b>", f"<{hexed('/d/sub/b')}>"
    )
    for index, event in enumerate(events_of(MADE, WRITES[0], SYNC, NAMED, made, inside)):
        disk.play(index, event)
    disk.write(tmp_path / "lost")
    assert [path.name for path in (tmp_path / "lost").rglob("*")] == ["a"]
    for event in [*disk.pending.values()]:
        disk.apply(event)
    disk.write(tmp_path / "kept")
    assert (tmp_path / "kept" / "a").read_bytes() == b"one"
    assert (tmp_path / "kept" / "sub" / "b").read_bytes() == b""


def test_what_was_said_and_heard() -> None:
    """Frames may be cut anywhere; a receipt counts when the last of it has left."""
    calls = [
        'recvfrom(7<socket>, "SEND\nreceipt:1\n\nx", 100, 0, NULL, NULL) = 17',
        'recvfrom(7<socket>, "\0ACK\nnumber:4\nid:", 100, 0, NULL, NULL) = 17',
        'recvfrom(7<socket>, "1-1\n\n\0", 100, 0, NULL, NULL) = 6',
        'sendto(7<socket>, "RECEIPT\nreceipt-id:send-1\n\n\0\nRECEIPT\nrec", 50, 0, NULL, 0) = 50',
        'sendto(8<socket>, "RECEIPT\nreceipt-id:other\n\n\0\n", 50, 0, NULL, 0) = 50',
        'sendto(7<socket>, "eipt-id:ack-4\n\n\0\n", 50, 0, NULL, 0) = 50',
    ]
    events = events_of(*[call.replace("<socket>", "") for call in calls])
    assert list(headers(events, "ACK", "number")) == [(2, "4")]
    assert list(receipts(events)) == [(3, "send-1"), (4, "other"), (5, "ack-4")]
