"""The broker's end of the leash: `hoofbeat run`, which ends when its angel is gone.

    python -m broker.angel.leash [FLAG OF hoofbeat run]…

Standard input is a pipe whose other end only the angel has. The kernel closes it however the angel dies, so no
broker keeps a store that nobody watches over. It ends in order, as with SIGTERM; if it cannot, it is killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

from broker.cli import main
from broker.reload import Outcome

KILL_AFTER = 60.0  # seconds a broker has to end in order: all it owes is to be written by then


def hold_leash() -> None:
    """Watch standard input, and end this process when it is closed."""

    def watch() -> None:
        while os.read(0, 64):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(KILL_AFTER)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="leash", daemon=True).start()


def tell_angel(outcome: Outcome) -> None:
    """Say what became of a reload, in a line of JSON on standard output, which is the angel's."""
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    hold_leash()
    sys.exit(main(["run", *sys.argv[1:]], tell_angel))
