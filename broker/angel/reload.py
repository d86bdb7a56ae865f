"""`hoofbeat reload`: lets a broker that `hoofbeat start` has started read its configuration anew.

Exit status: 0 it holds now, 1 the broker is not running or does not answer, 2 it refuses its configuration and keeps the
old one.
"""

from __future__ import annotations

import argparse
import os
import signal
import time

from broker.angel.instance import Instance, add_place, find_place
from broker.commands.line import DONE, FAILED, USAGE, Parser, complain
from broker.options import OptionsError

PATIENCE = 30.0  # seconds; a broker that is just starting reads it when it is ready


def main(words: list[str]) -> int:
    """Let it reload; return the exit status."""
    parsed = parser().parse_args(words)
    try:
        instance = find_place(parsed)
        if not instance.is_running():
            return complain(f"not running: {instance.pid_file} is nobody's", FAILED)
        return reload(instance)
    except OptionsError as error:
        return complain(f"{error}; the configuration stays as it was")
    except OSError as error:
        return complain(f"cannot let it reload: {error}", FAILED)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="hoofbeat reload",
        description="Let a broker that `hoofbeat start` has started read its configuration anew.",
    )
    add_place(made)
    return made


def reload(instance: Instance) -> int:
    """Let one that is running reload; return the exit status. Raises `OSError` if it is not ours."""
    before = instance.read()
    if before.angel == 0:
        return complain(f"{instance.pid_file} is locked, and does not say by whom", FAILED)
    os.kill(before.angel, signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE
    while (now := instance.read()).reloads == before.reloads:
        if time.monotonic() > deadline or not instance.is_running():
            return complain(f"no word of it; the log is {before.log}", FAILED)
        time.sleep(0.02)
    if not now.reloaded:
        return complain(f"{now.reload}; the configuration stays as it was", USAGE)
    print(f"reloaded, {now.reload}")
    return DONE
