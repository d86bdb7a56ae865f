"""What stores on files share: one broker at a time, names that survive a power cut, errors in one line."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Self

from broker.store import StoreError


def make_directory(path: Path) -> None:
    """Make a directory that only its owner can read, or be content with the one there is. Raises `StoreError`."""
    new = [each for each in (path, *path.parents) if not each.exists()]
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in new:
            sync_names(each.parent)
    except OSError as error:
        raise StoreError(f"cannot make the data directory {path}: {error.strerror}") from None


def sync_names(directory: Path) -> None:
    """Make sure that the files made in a directory would be found in it after a power cut. Raises `OSError`.

    A file that was synced is not: its name belongs to the directory (fsync(2)).
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such thing
            raise
    finally:
        os.close(handle)


class Claim:
    """Keeps other brokers away from a store, until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        """Lock the file `path`, made if need be. Raises `StoreError` if somebody else has it."""
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot write to {path.parent}: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise StoreError(f"{path.parent} is in use by another broker") from None

    def release(self) -> None:
        """Let others in."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def sync(path: Path) -> None:
    """Bring a file to the disk, or a directory: which names are in it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_disk(path: Path, reserve: int) -> int:
    """Return how many bytes may still be written to the disk of `path`.

    `reserve` bytes stay free, or a tenth of a disk that is small.
    """
    disk = os.statvfs(path)
    reserve = min(reserve, disk.f_blocks * disk.f_frsize // 10)
    return disk.f_bavail * disk.f_frsize - reserve
