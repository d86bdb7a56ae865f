"""`hoofbeat bench`: reads the command line, runs the measurements, shows and stores what came out.

Exit status: 0 when every row has a figure, 1 when one has failed, 2 for a wrong command line or a target
that cannot be used, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from broker.bench import figures, interrupts, plot, rows
from broker.bench.measure import Plan, run, steps
from broker.bench.report import Display, show
from broker.bench.targets import Ceiling, Fresh, Running, Target, TargetError

CEILING = "copying"
DEFAULT_ROWS = tuple(row.name for row in rows.ROWS if row.name not in ("backlog", "held"))
WIDTH = 110  # columns, where there is no terminal to ask


def main(argv: list[str]) -> int:
    """Run the benchmark; return the exit status."""
    options = parser().parse_args(argv)
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    if options.list:
        for row in rows.ROWS:
            console.print(f"{row.name:15} {row.title}", highlight=False)
        return 0
    try:
        for path in filter(None, (options.json, options.plot)):
            check_writable(path)
        found = earlier(options.read) if options.read else measured(options, console)
        show(console, found)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")
        if options.plot:
            plot.draw(found, options.plot)
    except (TargetError, plot.PlotError, OSError, ValueError) as error:
        print(f"hoofbeat bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("hoofbeat bench: interrupted", file=sys.stderr)
        return 130
    failures = figures.failures(found["rows"])
    for line in failures:
        print(f"FAILED: {line}", file=sys.stderr)
    return 1 if failures else 0


def check_writable(path: Path) -> None:
    """See that a file can be written, before we spend minutes on what is to stand in it. Raises `OSError`."""
    is_new = not path.exists()
    with path.open("ab"):
        pass
    if is_new:
        path.unlink()


def earlier(path: Path) -> dict[str, Any]:
    """Read the figures of an earlier run. Raises `OSError`, or `ValueError` for another file."""
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no file of figures: {error}") from error
    if not isinstance(found, dict) or found.get("format") != figures.FORMAT:
        raise ValueError(f"{path} holds no figures of format {figures.FORMAT}")
    return found


def measured(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Make all measurements and return them ready for JSON. Raises `TargetError`."""
    plan = planned(options)
    raise_limit()
    with contextlib.ExitStack() as stack:
        stack.enter_context(interrupts.deferred())
        targets = [stack.enter_context(target) for target in chosen_targets(options)]
        collected = figures.Collected(plan.rows, targets)
        todo = steps(plan, targets)
        display = stack.enter_context(Display(console, len(todo)))
        for step, results in run(plan, todo, display.working):
            collected.add(step.target, results)
            display.done(step, collected.as_rows())
    return {
        "format": figures.FORMAT,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": figures.machine(),
        "settings": {
            "seconds": plan.seconds,
            "warmup": plan.warmup,
            "rounds": plan.rounds,
            "backlog": plan.backlog,
            "connections": plan.connections,
        },
        "targets": [
            {"name": each.name, "url": each.shown, "copies": each.copies} for each in targets
        ],
        "rows": collected.as_rows(),
    }


def planned(options: argparse.Namespace) -> Plan:
    """Return how much is to be measured. Raises `TargetError` for a row that does not exist."""
    names = (
        options.rows.split(",") if options.rows else rows.QUICK if options.quick else DEFAULT_ROWS
    )
    if names == ["all"]:
        names = [row.name for row in rows.ROWS]
    try:
        chosen = rows.select(list(names))
    except KeyError as error:
        raise TargetError(f"there is no row {error.args[0]!r}; --list shows all") from error
    seconds = options.seconds or (0.6 if options.quick else 2.0)
    return Plan(
        chosen,
        options.rounds,
        seconds,
        warmup=min(0.5, seconds / 4),
        backlog=options.backlog,
        connections=options.connections,
    )


def chosen_targets(options: argparse.Namespace) -> list[Target]:
    """Return what is to be measured, the ceiling first. Raises `TargetError`."""
    targets: list[Target] = [] if options.no_ceiling else [Ceiling(CEILING)]
    for text in options.url or []:
        name, equals, url = text.partition("=")
        if not equals or "/" in name:
            name, url = "", text
        targets.append(Fresh(name or "hoofbeat") if url == "fresh" else Running(name, url))
    if not options.url:
        targets.append(Fresh("hoofbeat"))
    names = [target.name for target in targets]
    if len(set(names)) < len(names):
        raise TargetError("two targets have the same name: --url NAME=URL gives another")
    return targets


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="hoofbeat bench",
        description="Measure throughput and latency of STOMP brokers, checking every message.",
    )
    made.add_argument(
        "--url",
        action="append",
        metavar="[NAME=]URL",
        help="a running broker, stomp://[login:passcode@]host[:port]; may be given several times;"
        " “fresh” is a new local hoofbeat, which is also the default",
    )
    made.add_argument("--rows", metavar="A,B", help="only these rows; “all” for really all")
    made.add_argument("--list", action="store_true", help="list the rows and end")
    made.add_argument("--seconds", type=positive, help="measured time of each (default 2)")
    made.add_argument(
        "--rounds", type=count, default=1, help="rounds; the median counts (default 1)"
    )
    made.add_argument("--quick", action="store_true", help="a few rows, a few seconds")
    made.add_argument("--no-ceiling", action="store_true", help="do not measure the ceiling")
    made.add_argument(
        "--backlog",
        type=count,
        default=100_000,
        metavar="N",
        help="messages in the rows backlog, selector and schedule",
    )
    made.add_argument(
        "--connections", type=count, default=10_000, metavar="N", help="connections in row held"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    made.add_argument("--plot", type=Path, metavar="FILE", help="draw them (extra “plot”)")
    made.add_argument(
        "--read", type=Path, metavar="FILE", help="show earlier figures, measure nothing"
    )
    return made


def positive(text: str) -> float:
    """Read a number of seconds."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def count(text: str) -> int:
    """Read a number of things."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def raise_limit() -> None:
    """Allow ourselves and whom we start as many open files as the system lets us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
