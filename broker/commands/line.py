"""How a command line is read, and how is said what is wrong with it: in one line, with status 2.

Knows no command, and nothing of brokers or calls: every command pays for what is imported here.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from typing import NoReturn

DEFAULT_URL = "stomp://127.0.0.1:61613"
URL_VARIABLE = "HOOFBEAT_URL"  # of the environment

DONE, FAILED, USAGE = 0, 1, 2  # exit statuses
SIGNALLED = 128  # and the signal's number, as shells have it


class Parser(argparse.ArgumentParser):
    """Reads a command line, and says in one line what is wrong with it."""

    def error(self, message: str) -> NoReturn:
        """End with the line and status 2."""
        self.exit(USAGE, f"{self.prog}: {message}; `{self.prog} --help` tells more\n")


class UsageError(Exception):
    """What was asked for cannot be done, whatever the other side says. The text is one line."""


def add_url(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which broker is meant; see `broker_url`."""
    parser.add_argument(
        "--url",
        metavar="URL",
        help="the broker, stomp[+ssl]://[login:passcode@]host[:port][/vhost][?tls_authorities=FILE…]"
        f" (default: ${URL_VARIABLE}, or {DEFAULT_URL})",
    )


def add_asking(parser: argparse.ArgumentParser, timeout: float, awaited: str, output: str) -> None:
    """Add the options of a command that asks: how long it waits for what is `awaited`, and `output` as JSON."""
    parser.add_argument(
        "--timeout",
        type=positive,
        default=timeout,
        metavar="SECONDS",
        help=f"how long to {awaited} (default {timeout:g})",
    )
    parser.add_argument("--json", action="store_true", help=f"print {output}")


def broker_url(given: str | None) -> str:
    """Return the broker's URL: the option's, the environment's, or the default."""
    return given or os.environ.get(URL_VARIABLE) or DEFAULT_URL


def positive(text: str) -> float:
    """Read a number of seconds."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def seconds(text: str) -> float | None:
    """Read a number of seconds, or `none`."""
    return None if text == "none" else positive(text)


def count(text: str) -> int:
    """Read a number of things."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def complain(text: str, status: int = USAGE) -> int:
    """Say on standard error, in one line, why it does not go on; return the exit status."""
    print(f"hoofbeat: {in_one_line(text)}", file=sys.stderr)
    return status


def in_one_line(text: str) -> str:
    """Return text that others wrote so that it fits into a line, and moves no terminal's cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
