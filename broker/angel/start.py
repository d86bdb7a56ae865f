"""`hoofbeat start`: the broker as a daemon, with an angel that keeps it running.

Exit status: 0 it is ready, 2 it refuses its configuration, 1 it is running already or could not be started.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from broker.angel.instance import Instance, PidFile, Record, Taken, place_of
from broker.cli import add_flags, flags_of, options_from
from broker.commands.line import DONE, FAILED, SIGNALLED, Parser, complain
from broker.options import Options, OptionsError

ORPHAN = 10.0  # seconds; the broker of an angel that was killed ends by itself, as a rule at once


def main(words: list[str]) -> int:
    """Start it; return the exit status."""
    parsed = parser().parse_args(words)
    try:
        options = options_from(parsed.config, vars(parsed))
    except OptionsError as error:
        return complain(str(error))
    return start(words, parsed, options)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="hoofbeat start",
        description="Start the broker as a daemon, and start it again whenever it dies.",
    )
    add_flags(made)
    made.add_argument(
        "--pidfile",
        metavar="FILE",
        help="where it is noted (default hoofbeat.pid in the data directory)",
    )
    return made


def start(words: list[str], parsed: argparse.Namespace, options: Options) -> int:
    """Start what `words` say, which were read into `parsed` and `options`; return the exit status."""
    instance = place_of(options, parsed.pidfile)
    try:
        before = instance.read()
        pid_file = instance.lock()
    except Taken:
        return complain(f"already running: {sentence(instance.read())}", FAILED)
    except OSError as error:
        return complain(f"cannot write the pid file {instance.pid_file}: {error.strerror}")
    wait_for_orphan(before.broker)
    flags = flags_of(vars(parsed))
    if parsed.config is not None:
        flags.append(f"--config={parsed.config}")
    record = Record(log=str(instance.log_file), words=words, directory=os.getcwd())
    read = partial(options_from, parsed.config, vars(parsed))
    return _start(instance, pid_file, flags, options, read, record)


def _start(
    instance: Instance,
    pid_file: PidFile,
    flags: list[str],
    options: Options,
    read: Callable[[], Options],
    record: Record,
) -> int:
    from twisted.python.logfile import LogFile  # not for a TAB

    try:
        instance.log_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        log_file = LogFile.fromFullPath(  # type: ignore[no-untyped-call]
            record.log, options.log_bytes, 0o600, options.log_files
        )
    except OSError as error:
        pid_file.remove()
        return complain(f"cannot write the log {instance.log_file}: {error.strerror}")
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        from broker.angel.daemon import become_angel  # Twisted, for who stays

        become_angel(flags, options, read, record, pid_file, log_file, theirs)
    os.close(theirs)
    pid_file.release()
    try:
        os.waitpid(child, 0)
        with open(ours, "rb") as ear:
            outcome = ear.read()
    except KeyboardInterrupt:  # the angel finds nobody who waits, and ends
        return SIGNALLED + signal.SIGINT
    status, text = (
        json.loads(outcome) if outcome else (FAILED, f"the angel has died; its log is {record.log}")
    )
    if status == DONE:
        print(text, flush=True)
        return DONE
    while instance.is_running():
        time.sleep(0.02)
    return complain(text if status != FAILED else f"{text}; the log is {record.log}", status)


def sentence(record: Record) -> str:
    """Return how things stand with an angel that runs, in one line."""
    where = f" on {record.urls}" if record.state == "running" else ""
    return f"{record.state or 'starting'}{where}, angel {record.angel}"


def wait_for_orphan(pid: int) -> None:
    """Wait until the broker of an angel that was killed has ended, for it holds the store.

    Its number may be another process's by now: then there is nothing to wait for.
    """
    deadline = time.monotonic() + ORPHAN
    while time.monotonic() < deadline:
        try:
            if b"broker.angel.leash" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                return
        except OSError:
            return
        time.sleep(0.05)
