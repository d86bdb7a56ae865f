"""`hoofbeat worker`: serves functions of a program, in this process or in several.

Exit status: 0 it was asked to end and finished what it had begun, 1 it failed while running, 2 it could not
start as asked; 143 or 130 after a second signal.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable

from broker import __version__
from broker.commands.line import DONE, FAILED, Parser, UsageError, add_url, complain, count
from broker.commands.supervision import LOADED, READY, supervise

EXAMPLES = """\
WHAT is MODULE:NAME, found in the current directory too; NAME is a Worker (of rpc, rpc.aio or rpc.tx).
It may also be a function, a class or an object, or a module alone, and there may be several:

  hoofbeat worker shop.orders:worker
  hoofbeat worker --service orders --processes 4 shop.orders:count shop.orders:Cart

One line with the word “ready” for each process tells that calls reach it. SIGTERM and SIGINT: no new calls,
those that run are finished; a second one ends it at once.
"""


def main(words: list[str]) -> int:
    """Serve until a signal comes; return the exit status."""
    made = parser()
    parsed = made.parse_intermixed_args(words)
    if parsed.processes is None:
        return serve(parsed, lambda word: None)
    return supervise(lambda number: _words(parsed, number), parsed.processes)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="hoofbeat worker",
        description="Serve remote calls with the functions of a program.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("what", nargs="+", metavar="WHAT")
    made.add_argument(
        "--service", metavar="NAME", help="the service of functions that have no Worker"
    )
    add_url(made)
    made.add_argument(
        "--concurrency", type=count, metavar="N", help="calls that run at once in each process"
    )
    made.add_argument(
        "--processes",
        type=count,
        metavar="N",
        help="so many processes; one that dies is started again",
    )
    made.add_argument(
        "--name", help="the worker's own name; with --processes, each adds its number"
    )
    return made


def _words(parsed: argparse.Namespace, number: int) -> list[str]:
    """Return the command line of one process of several."""
    words = list(parsed.what)
    name = None if parsed.name is None else f"{parsed.name}-{number}"
    for option, value in (
        ("service", parsed.service),
        ("url", parsed.url),
        ("concurrency", parsed.concurrency),
        ("name", name),
    ):
        if value is not None:
            words.append(f"--{option}={value}")
    return words


def serve(parsed: argparse.Namespace, tell: Callable[[bytes], None]) -> int:
    """Serve in this process; return the exit status. `tell` hears how far it has come."""
    from broker.commands.loading import find_worker
    from broker.commands.running import run
    from rpc.errors import BrokerRefused

    # The second Ctrl-C is to end the process; an exception would have to find its way past threads.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        worker = find_worker(
            parsed.what,
            service=parsed.service,
            url=parsed.url,
            concurrency=parsed.concurrency,
            name=parsed.name,
        )
    except UsageError as error:
        return complain(str(error))
    tell(LOADED)
    logging.basicConfig(
        format="%(asctime)s %(name)s: %(message)s"
    )  # unless the program has its own

    def ready() -> None:
        print(f"hoofbeat {__version__} worker ready: {worker}", flush=True)
        tell(READY)

    try:
        run(worker, ready)
    except BrokerRefused as error:
        return complain(f"BrokerRefused: {error}", FAILED)
    return DONE


def serve_on_leash(descriptor: int, words: list[str]) -> int:
    """Serve as one process of several, over whose socket it tells how far it has come.

    When the other end of it is closed, who started us is gone: then it ends as with SIGTERM.
    """
    leash = socket.socket(fileno=descriptor)
    leash.set_inheritable(False)

    def watch() -> None:
        with contextlib.suppress(OSError):
            leash.recv(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="leash", daemon=True).start()
    sys.argv = ["hoofbeat", "worker", *words]
    return serve(parser().parse_intermixed_args(words), leash.sendall)
