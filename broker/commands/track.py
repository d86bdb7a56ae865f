"""`hoofbeat track`: what became of a message that was sent with `report`.

Exit status: 0 its status is known, and with --wait it was PROCESSED; 1 it is not known, or with --wait it FAILED, EXPIRED or
was not PROCESSED in time; 2 the command line makes no sense.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

from broker.commands.asking import Asker, connection, ended, is_terminal, make_options, show
from broker.commands.line import (
    DONE,
    FAILED,
    Parser,
    add_asking,
    add_url,
    complain,
    in_one_line,
    positive,
)
from rpc.errors import InvalidParams, RpcError

TIMEOUT = 5.0  # seconds
EVERY = 0.2  # seconds between two questions about a message that is not known: it may yet come
HOLD = 20.0  # seconds that the broker may keep the answer for the end of one that is
GOOD, BAD = "PROCESSED", ("FAILED", "EXPIRED")

Object = dict[str, Any]


def main(words: list[str]) -> int:
    """Ask, print, and return the exit status."""
    parsed = parser().parse_args(words)
    return ended(lambda: track(parsed))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="hoofbeat track",
        description="Tell what became of a message that was sent with report: QUEUED, SENT, PROCESSED, FAILED"
        " or EXPIRED, and of each copy if it went to several destinations.",
    )
    made.add_argument("id", metavar="ID", help="its correlation-id, or without one its message-id")
    add_url(made)
    made.add_argument(
        "--wait",
        type=positive,
        metavar="SECONDS",
        help="wait so long for its end; status 1 unless it was processed by then",
    )
    add_asking(made, TIMEOUT, "wait for the broker's answer", "JSON")
    return made


def track(parsed: argparse.Namespace) -> int:
    """Ask, perhaps again and again, and print the last answer. Raises `UsageError` and `RpcError`."""
    end = time.monotonic() + (parsed.wait or 0.0)
    held = HOLD if parsed.wait else 0.0
    options = make_options(timeout=parsed.timeout + held, no_worker="fail")
    with connection(parsed.url, "broker", options) as asker:
        while True:
            left = max(0.0, end - time.monotonic())
            found = ask(asker, parsed.id, min(left, held))
            if not left or (isinstance(found, dict) and found["status"] in (GOOD, *BAD)):
                break
            if not isinstance(found, dict):
                time.sleep(min(EVERY, left))
    if not isinstance(found, dict):
        return complain(str(found), FAILED)
    if parsed.json:
        show(found, pretty=is_terminal())
    else:
        for line in lines(found):
            print(in_one_line(line))
    return DONE if parsed.wait is None or found["status"] == GOOD else FAILED


def ask(asker: Asker, id: str, wait: float) -> Object | RpcError:
    """Return what the broker knows of a message, at its end or after `wait` seconds, or that it knows nothing.

    Raises `RpcError`.
    """
    try:
        found: Object = asker.ask("tracked", [id, wait])
    except InvalidParams as error:
        return error
    return found


def lines(found: Object) -> Iterator[str]:
    """Yield what there is to say: the status, and of each part if it is not the whole, or tells why."""
    yield found["status"]
    parts = found["parts"]
    if len(parts) == 1 and not parts[0]["cause"]:
        return
    for part in parts:
        by = f" by {part['by']}" if part["by"] else ""
        cause = f": {part['cause']}" if part["cause"] else ""
        yield f"{part['status']} {part['destination']}{by}{cause}"
