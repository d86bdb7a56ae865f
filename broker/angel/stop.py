"""`hoofbeat stop`: ends a broker that `hoofbeat start` has started, in order.

Exit status: 0 it is not running any more, or was not, 1 it could not be stopped, 2 it cannot be told which.
"""

from __future__ import annotations

import argparse
import os
import signal
import time

from broker.angel.instance import Instance, add_place, find_place
from broker.angel.leash import KILL_AFTER
from broker.commands.line import DONE, FAILED, Parser, complain
from broker.options import OptionsError

PATIENCE = KILL_AFTER + 15.0  # seconds; the angel kills a broker that does not end


def main(words: list[str]) -> int:
    """Stop it; return the exit status."""
    parsed = parser().parse_args(words)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C: it ends all the same, and nobody waits
    try:
        instance = find_place(parsed)
        if not instance.is_running():
            print(f"not running: {instance.pid_file} is nobody's")
            return DONE
        return stop(instance)
    except OptionsError as error:
        return complain(str(error))
    except OSError as error:
        return complain(f"cannot stop it: {error}", FAILED)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="hoofbeat stop",
        description="Stop a broker that `hoofbeat start` has started; wait until it has ended.",
    )
    add_place(made)
    return made


def stop(instance: Instance) -> int:
    """Stop one that is running; return the exit status. Raises `OSError` if it is not ours to stop."""
    pid = instance.read().angel
    if pid == 0:
        return complain(f"{instance.pid_file} is locked, and does not say by whom", FAILED)
    os.kill(pid, signal.SIGTERM)  # whoever holds the lock has written this number
    deadline = time.monotonic() + PATIENCE
    while instance.is_running():
        if time.monotonic() > deadline:
            return complain(f"the angel, process {pid}, does not end", FAILED)
        time.sleep(0.02)
    print("stopped")
    return DONE
