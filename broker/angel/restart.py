"""`hoofbeat restart`: stops a broker and starts it as it was started, with its flags, in its directory.

One that is not running is started all the same; if it was never started, with the options given. Exit status:
that of `hoofbeat start`.
"""

from __future__ import annotations

import argparse
import os

from broker.angel import start, stop
from broker.angel.instance import add_place, find_place
from broker.cli import options_from
from broker.commands.line import DONE, FAILED, Parser, complain
from broker.options import OptionsError


def main(words: list[str]) -> int:
    """Stop and start it; return the exit status."""
    parsed = parser().parse_args(words)
    try:
        instance = find_place(parsed)
        record = instance.read()
        if record.directory:
            os.chdir(record.directory)
            words = record.words
        again = start.parser().parse_args(words)
        options = options_from(again.config, vars(again))  # before what runs is stopped
        if instance.is_running() and (status := stop.stop(instance)) != DONE:
            return status
    except OptionsError as error:
        return complain(str(error))
    except OSError as error:
        return complain(f"cannot restart it: {error}", FAILED)
    return start.start(words, again, options)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="hoofbeat restart",
        description="Stop a broker and start it again as it was started.",
    )
    add_place(made)
    return made
