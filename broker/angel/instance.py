"""Which broker a command means, and its pid file: what commands and angel know of each other.

The angel holds a lock on the pid file as long as it lives. The lock is what tells that it runs, and not the
number in the file: that may be left over from an angel that was killed, and be somebody else's by now.

The file's first line is the number of the angel, as everywhere; its second line is a `Record` as JSON. It is
removed when all has ended in order. After a failure it stays and says why.

Knows files; not who starts, watches or signals whom.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from broker.cli import FLAGS, options_from
from broker.options import Options, OptionsError

PATIENCE = 0.5  # seconds; `hoofbeat status` holds the lock for a moment


class Taken(Exception):
    """Somebody holds the lock."""


@dataclass
class Record:
    """What the angel writes down of itself and its broker."""

    state: str = ""  # starting, running, restarting, stopping, failed
    angel: int = 0  # its pid
    broker: int = 0  # its pid, 0 if there is none
    ready: str = ""  # the line with which it said that it is ready
    since: float = 0.0  # when it said so; seconds since 1970
    restarts: int = 0
    why: str = ""  # it died last, or there will be no other
    reloads: int = 0  # how often the configuration was read anew
    reloaded: bool = False  # the last time it was taken over
    reload: str = ""  # what became of it
    log: str = ""  # its file
    words: list[str] = field(default_factory=list)  # of `hoofbeat start`
    directory: str = ""  # where they were typed

    @property
    def urls(self) -> str:
        """Where the broker takes clients."""
        return self.ready.partition(" ready on ")[2].rpartition(", store ")[0]

    @property
    def virtual_hosts(self) -> str:
        """Their names."""
        return self.ready.rpartition(", store ")[2].partition(", virtual hosts ")[2]


class Instance:
    """A broker's place: its pid file and its log."""

    def __init__(self, pid_file: Path, log_file: Path) -> None:
        """Both are absolute."""
        self.pid_file = pid_file
        self.log_file = log_file

    def is_running(self) -> bool:
        """Return whether there is an angel. Raises `OSError` if the pid file cannot be read."""
        try:
            descriptor = os.open(self.pid_file, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def read(self) -> Record:
        """Return what the pid file says; an empty record if there is none, or it is not one of ours."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                pid, line = self.pid_file.read_text(encoding="utf-8").split("\n")[:2]
                return Record(**{**json.loads(line), "angel": int(pid)})
            except (FileNotFoundError, NotADirectoryError):
                return Record()
            except (ValueError, TypeError):  # it is just being written
                if time.monotonic() > deadline:
                    return Record()
                time.sleep(0.01)

    def lock(self) -> PidFile:
        """Take the pid file, empty. Raises `Taken`, and `OSError` if it cannot be written."""
        self.pid_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        deadline = time.monotonic() + PATIENCE
        while True:
            descriptor = os.open(self.pid_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), self.pid_file.stat()):
                    os.ftruncate(descriptor, 0)
                    return PidFile(self.pid_file, descriptor)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise Taken from None
                time.sleep(0.05)
            except FileNotFoundError:  # who had it has removed it
                pass
            os.close(descriptor)


class PidFile:
    """The pid file in the hand of who holds its lock. A fork of the process holds it too."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """`descriptor` is the locked file."""
        self._path = path
        self._descriptor = descriptor

    def write(self, record: Record) -> None:
        """Write a record in place of what stands there. Raises `OSError`."""
        data = f"{record.angel}\n{json.dumps(asdict(record))}\n".encode()
        os.pwrite(self._descriptor, data, 0)
        os.ftruncate(self._descriptor, len(data))

    def release(self) -> None:
        """Leave the file and its lock to the fork."""
        os.close(self._descriptor)

    def remove(self) -> None:
        """Remove the file. The lock goes with the process."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which broker is meant; see `find_place`."""
    parser.add_argument("--data", metavar="DIR", help="as it was given to `hoofbeat start`")
    parser.add_argument("--config", metavar="FILE", help="as it was given to `hoofbeat start`")
    parser.add_argument("--pidfile", metavar="FILE", help="as it was given to `hoofbeat start`")


def place_of(options: Options, pidfile: str | None) -> Instance:
    """Return where a broker with these settings is; `pidfile` is the option's value."""
    data = Path(options.data).absolute()
    pid_file = pidfile or options.pid_file
    return Instance(
        Path(pid_file).absolute() if pid_file else data / "hoofbeat.pid",
        Path(options.log_file).absolute() if options.log_file else data / "log" / "hoofbeat.log",
    )


def find_place(parsed: argparse.Namespace) -> Instance:
    """Return the place that a command line with the options of `add_place` means. Raises `OptionsError`."""
    if parsed.pidfile:  # works also when the configuration does not
        return place_of(Options(), parsed.pidfile)
    flags = {name: getattr(parsed, name, None) for name in FLAGS}
    try:
        return place_of(options_from(parsed.config, flags), None)
    except OptionsError as error:
        raise OptionsError(f"{error}; --pidfile FILE does without it") from None
