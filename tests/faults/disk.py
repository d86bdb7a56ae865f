"""What a disk may hold after a power cut: files as a trace of writes and syncs has left them, some writes lost or torn.

The model is the strict one (POSIX, as ALICE and LazyFS have it). What was synced stays. Of all else, each write is
there, or not, or some of its sectors are, whatever came before or after it; a file that was made is there only if
the directory it stands in was synced, and one that was removed may be there again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.trace import (
    MADE,
    MADE_DIRECTORY,
    REMOVED,
    RESIZED,
    SYNCED,
    SYNCED_ONE,
    WROTE,
    Event,
)

NAMES = (MADE, MADE_DIRECTORY, REMOVED)  # what changes a directory

#: How much of what was not synced is there: each write with this probability.
KEPT = (0.0, 1.0, 0.5, 0.1, 0.9)
SECTORS = (512, 4096)


@dataclass
class Disk:
    """The files beneath a directory, from a trace that is played event by event."""

    root: str
    files: dict[str, bytearray] = field(default_factory=dict)  # what is certain of their content
    names: dict[str, str] = field(
        default_factory=dict
    )  # what certainly is there: path → how it was made
    pending: dict[int, Event] = field(default_factory=dict)  # what is not certain, by its index

    def play(self, index: int, event: Event) -> None:
        """Let something happen."""
        if event.kind in (*NAMES, WROTE, RESIZED):
            self.pending[index] = event
        elif event.kind == SYNCED_ONE:
            self._settle(event.since)
        elif event.kind == SYNCED:
            for each in [each for each in self.pending if each < event.since]:
                if self._is_of(self.pending[each], event.path):
                    self._settle(each)

    def crash(self, chance: random.Random) -> Disk:
        """Return what is there after a power cut now."""
        left = Disk(
            self.root, {path: bytearray(data) for path, data in self.files.items()}, {**self.names}
        )
        kept, sector = chance.choice(KEPT), chance.choice(SECTORS)
        for event in self.pending.values():
            if chance.random() < kept:
                left.apply(event)
            elif event.kind == WROTE and chance.random() < 0.3:  # torn
                for piece in sectors(event, sector):
                    if chance.random() < 0.5:
                        left.apply(piece)
        return left

    def apply(self, event: Event) -> None:
        """Make something certain."""
        if event.kind == REMOVED:
            self.names.pop(event.path, None)
            self.files.pop(event.path, None)
            return
        if event.kind in NAMES:
            self.names[event.path] = event.kind
            return
        content = self.files.setdefault(event.path, bytearray())
        size = event.place if event.kind == RESIZED else event.place + len(event.data)
        if len(content) < size:
            content.extend(bytes(size - len(content)))
        elif event.kind == RESIZED:
            del content[size:]
        if event.kind == WROTE:
            content[event.place : size] = event.data

    def write(self, directory: Path) -> None:
        """Put the files into a directory, which takes the place of the root."""
        directory.mkdir(parents=True)
        for path, made in sorted(self.names.items()):
            place = directory / Path(path).relative_to(self.root)
            if not place.parent.is_dir():
                continue  # a directory above it is lost, and all in it
            if made == MADE_DIRECTORY:
                place.mkdir()
            else:
                place.write_bytes(self.files.get(path, b""))

    @staticmethod
    def _is_of(event: Event, synced: str) -> bool:
        """Tell whether a sync of a file or a directory makes an event certain."""
        if event.kind in NAMES:
            return str(Path(event.path).parent) == synced
        return event.path == synced

    def _settle(self, index: int) -> None:
        self.apply(self.pending.pop(index))


def sectors(event: Event, size: int) -> list[Event]:
    """Return a write, cut at the borders of sectors."""
    pieces = []
    start, end = event.place, event.place + len(event.data)
    while start < end:
        stop = min(end, start - start % size + size)
        data = event.data[start - event.place : stop - event.place]
        pieces.append(Event(WROTE, event.path, data, start))
        start = stop
    return pieces
