"""What a broker did to its files and said to its clients, as strace saw it: one list of events, in order.

A write counts from the moment it is begun, for its bytes may reach the disk from then on; a sync counts when it has
returned. It knows no store: `tests.faults.disk` tells what of it survives a power cut.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

#: What to call strace with, beside `-o FILE`. Strings are written as \x00, and whole.
CALLS = (
    *("openat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat"),
    *("lseek", "write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate", "truncate"),
    *("fsync", "fdatasync", "msync", "sync_file_range", "sendto", "recvfrom"),
)
OPTIONS = ("-y", "-xx", "-s", "100000000", "-e", "signal=none", "-e", "trace=" + ",".join(CALLS))

MADE, MADE_DIRECTORY, REMOVED = "made", "made directory", "removed"
WROTE, RESIZED = "wrote", "resized"
SYNCED = "synced"  # a file, or the names in a directory: all that came before `since`
SYNCED_ONE = "synced one"  # the write at `since`
SAID, HEARD = "said", "heard"  # to and from a client


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    kind: str
    path: str = ""
    data: bytes = b""
    place: int = 0  # in the file; of RESIZED the size
    since: int = 0  # index of an event
    link: int = 0  # the descriptor of a client


LINE = re.compile(r"(\d+) +(.*)")
CALL = re.compile(r"(\w+)\((.*?)(?:\) += (-?\d+)(.*)| <unfinished \.\.\.>)$")
RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)\) += (-?\d+)(.*)$")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
DESCRIPTOR = re.compile(r"(\d+)(?:<((?:\\x[0-9a-f]{2})*)>)?")


def text(hexadecimal: str) -> bytes:
    """Return what strace has written in hexadecimal."""
    return bytes.fromhex(hexadecimal.replace("\\x", ""))


class Reader:
    """Reads the lines of strace; `events` grows."""

    def __init__(self, root: Path) -> None:
        """`root`: files beneath it are of interest."""
        self.events: list[Event] = []
        self._root = f"{root}/"
        self._begun: dict[
            str, tuple[str, str, int]
        ] = {}  # thread → what it waits for, events before it
        self._exist: set[str] = set()
        self._dsync: dict[int, bool] = {}  # descriptor → its writes are synced, each
        self._places: dict[int, int] = {}  # where write and writev go on

    def read(self, lines: Iterable[str]) -> list[Event]:
        """Return all events."""
        for line in lines:
            thread, rest = LINE.fullmatch(line.rstrip("\n")).groups()  # type: ignore[union-attr]
            if resumed := RESUMED.match(rest):
                name, arguments, before = self._begun.pop(thread)
                assert name == resumed[1], line
                self._end(name, arguments + resumed[2], int(resumed[3]), resumed[4], before)
            elif call := CALL.match(rest):
                before = len(self.events)
                self._begin(call[1], call[2])
                if call[3] is None:
                    self._begun[thread] = call[1], call[2], before
                else:
                    self._end(call[1], call[2], int(call[3]), call[4], before)
            else:
                assert rest.startswith(("+++", "---", "???")) or " = ?" in rest, line
        return self.events

    def _begin(self, name: str, arguments: str) -> None:
        """A call has begun: its bytes may be on disk from now on, or with the client."""
        if name in ("write", "writev", "pwrite64", "pwritev", "pwritev2"):
            descriptor, path = self._file(arguments)
            if self._matters(path):
                data = b"".join(map(text, TEXT.findall(arguments)))
                place = self._places.get(descriptor, 0)
                if name.startswith("pwrite"):
                    place = int(arguments.rsplit(", ", 2 if name == "pwritev2" else 1)[1])
                else:
                    self._places[descriptor] = place + len(data)
                self.events.append(Event(WROTE, path, data, place))
        elif name == "sendto":
            descriptor, _ = self._file(arguments)
            said = TEXT.search(arguments)
            assert said, arguments
            self.events.append(Event(SAID, data=text(said[1]), link=descriptor))

    def _end(self, name: str, arguments: str, result: int, more: str, before: int) -> None:
        """A call has returned."""
        if result < 0:
            return
        descriptor, path = self._file(arguments)
        if name == "openat":
            self._open(arguments, result, more)
        elif name in ("mkdir", "mkdirat"):
            self._make(self._named(arguments, 0), MADE_DIRECTORY)
        elif name in ("unlink", "unlinkat"):
            self._remove(self._named(arguments, 0))
        elif name.startswith("rename") or name in ("truncate", "sync_file_range", "msync"):
            paths = [text(each).decode(errors="replace") for each in TEXT.findall(arguments)]
            assert not any(map(self._matters, [path, *paths])), f"what does {name} mean here?"
        elif name == "recvfrom":
            heard = TEXT.search(arguments)
            self.events.append(Event(HEARD, data=text(heard[1]) if heard else b"", link=descriptor))
        elif not self._matters(path):
            return
        elif name == "lseek":
            self._places[descriptor] = result
        elif name == "ftruncate":
            self.events.append(Event(RESIZED, path, place=int(arguments.rsplit(", ", 1)[1])))
        elif name in ("fsync", "fdatasync"):
            self.events.append(Event(SYNCED, path, since=before))
        elif self._dsync.get(descriptor):
            assert self.events[before].kind == WROTE
            self.events.append(Event(SYNCED_ONE, path, since=before))

    def _open(self, arguments: str, descriptor: int, more: str) -> None:
        path = text(DESCRIPTOR.match(f"{descriptor}{more}")[2]).decode(errors="replace")  # type: ignore[index]
        self._dsync[descriptor] = "O_DSYNC" in arguments or "O_SYNC" in arguments
        self._places[descriptor] = 0
        if self._matters(path) and "O_CREAT" in arguments:
            self._make(path)

    def _make(self, path: str, kind: str = MADE) -> None:
        if self._matters(path) and path not in self._exist:
            self._exist.add(path)
            self.events.append(Event(kind, path))

    def _remove(self, path: str) -> None:
        if self._matters(path):
            self._exist.discard(path)
            self.events.append(Event(REMOVED, path))

    def _matters(self, path: str) -> bool:
        return f"{path}/".startswith(self._root)

    def _named(self, arguments: str, index: int) -> str:
        path = text(TEXT.findall(arguments)[index]).decode(errors="replace")
        return os.path.abspath(path)

    @staticmethod
    def _file(arguments: str) -> tuple[int, str]:
        found = DESCRIPTOR.match(arguments)
        if found is None:
            return -1, ""
        return int(found[1]), text(found[2] or "").decode(errors="replace")


def receipts(events: list[Event]) -> Iterator[tuple[int, str]]:
    """Yield every receipt that was given: index of the event, receipt-id."""
    return _found(events, SAID, re.compile(rb"RECEIPT\nreceipt-id:([^\n]*)\n\n\0"))


def headers(events: list[Event], command: str, name: str) -> Iterator[tuple[int, str]]:
    """Yield the value of a header of every frame that was heard whole: index of the event, value."""
    pattern = rb"(?:^|\0)\n*%b\n(?:[^\n\0]+\n)*?%b:([^\n]*)\n(?:[^\n\0]+\n)*\n" % (
        command.encode(),
        name.encode(),
    )
    return _found(events, HEARD, re.compile(pattern))


def _found(events: list[Event], kind: str, pattern: re.Pattern[bytes]) -> Iterator[tuple[int, str]]:
    """Yield what is found in what was said or heard, when it was complete."""
    pieces: dict[int, bytearray] = {}
    for index, event in enumerate(events):
        if event.kind == kind:
            stream = pieces.setdefault(event.link, bytearray())
            stream += event.data
            end = 0
            for found in pattern.finditer(stream):
                yield index, found[1].decode()
                end = found.end()
            del stream[:end]
