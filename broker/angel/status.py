"""`hoofbeat status`: how a broker is that `hoofbeat start` has started.

Exit status, as the Linux Standard Base has it: 0 it is running, or its angel is about to start it again, 3 it is
not running; 2 it cannot be told.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict

from broker.angel.instance import Instance, Record, add_place, find_place
from broker.commands.line import DONE, Parser, complain
from broker.options import OptionsError

NOT_RUNNING = 3


def main(words: list[str]) -> int:
    """Tell it; return the exit status."""
    parsed = parser().parse_args(words)
    try:
        record = look(find_place(parsed))
    except OptionsError as error:
        return complain(str(error))
    except OSError as error:
        return complain(f"cannot tell: {error}")
    if parsed.json:
        found = {"urls": record.urls, "virtual_hosts": record.virtual_hosts}
        print(json.dumps(asdict(record) | found))
    else:
        print("\n".join(f"{name:10}{value}" for name, value in table(record)))
    return NOT_RUNNING if record.state in ("stopped", "failed", "killed") else DONE


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = Parser(
        prog="hoofbeat status",
        description="Tell how a broker is that `hoofbeat start` has started.",
    )
    add_place(made)
    made.add_argument("--json", action="store_true", help="print it as a JSON object")
    return made


def look(instance: Instance) -> Record:
    """Return how things stand: what the angel has written, and `stopped` or `killed` if there is none."""
    running = instance.is_running()
    record = instance.read()
    if not running and record.state != "failed":
        record.state = "killed" if record.state else "stopped"
    return record


def table(record: Record) -> list[tuple[str, object]]:
    """Return what there is to say, a name and a value a line."""
    if record.state == "stopped":
        return [("state", "stopped")]
    rows: list[tuple[str, object]] = [("state", record.state)]
    if record.state == "killed":
        rows.append(
            ("why", "its angel has died without a word: killed, or the machine has stopped")
        )
    elif record.why:
        rows.append(("why", record.why))
    if record.state == "running":
        rows.append(("since", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.since))))
        rows.append(("urls", record.urls))
        if record.virtual_hosts:
            rows.append(("hosts", record.virtual_hosts))
    rows += [("restarts", record.restarts), ("broker", record.broker or "none")]
    return [*rows, ("angel", record.angel), ("log", record.log)]
