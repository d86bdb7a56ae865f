"""`hoofbeat services`: which services there are, as the broker sees its queues.

Exit status: 0 they were listed, 1 the broker cannot tell, 2 the command line makes no sense.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from broker.commands.asking import connection, ended, is_terminal, make_options, show
from broker.commands.line import DONE, FAILED, Parser, add_asking, add_url, complain, in_one_line
from rpc.errors import ServiceUnavailable, Timeout

TIMEOUT = 5.0  # seconds
COLUMNS = ("name", "workers", "waiting", "in_flight", "enqueued")  # as the broker calls them
NOT_HOOFBEAT = (
    "the broker answers no calls itself, as hoofbeat does, so it cannot list services;"
    " a service whose name you know can be asked: hoofbeat describe NAME"
)


def main(words: list[str]) -> int:
    """List the services; return the exit status."""
    parsed = parser().parse_args(words)
    return ended(lambda: list_services(parsed))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="hoofbeat services",
        description="List the services of a broker: their workers, the calls that wait for one, those"
        " that workers have, and those that ever came.",
    )
    add_url(made)
    add_asking(made, TIMEOUT, "wait for the broker's answer", "JSON")
    return made


def list_services(parsed: argparse.Namespace) -> int:
    """Ask and print. Raises `UsageError` and `RpcError`."""
    options = make_options(timeout=parsed.timeout, no_worker="fail")
    try:
        with connection(parsed.url, "broker", options) as asker:
            found: list[dict[str, Any]] = asker.ask("services")
    except (ServiceUnavailable, Timeout) as error:
        return complain(f"{type(error).__name__}: {NOT_HOOFBEAT}", FAILED)
    if parsed.json:
        show(found, pretty=is_terminal())
        return DONE
    rows = [[in_one_line(str(each.get(column, ""))) for column in COLUMNS] for each in found]
    heads = [column.replace("_", " ") for column in COLUMNS]
    (_draw if is_terminal() else _print)(heads, rows)
    return DONE


def _draw(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def _print(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns: one word in each place, so that `awk` finds them."""
    lines = [[head.replace(" ", "_") for head in heads], *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(heads))]
    for line in lines:
        print(
            "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        )
