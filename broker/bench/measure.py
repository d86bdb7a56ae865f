"""From the command line's wish to figures: which measurements, in which order, each in a process.

Targets are measured in turn, row by row and round by round (A B C, A B C, next row), so that a machine
that grows slower or faster does it to all of them alike.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from broker.bench.process import ProcessError, memory
from broker.bench.rows import Row
from broker.bench.targets import Target, end, lines, start
from broker.bench.timing import Result

SILENCE = 120.0  # seconds after which a generator that says nothing is given up
PER_PROCESS = 8000  # connections one generator holds


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rows: list[Row]
    rounds: int = 1
    seconds: float = 2.0  # measured time of each
    warmup: float = 0.3  # seconds before it
    backlog: int = 100_000  # messages of the large backlog
    connections: int = 10_000  # connections held


@dataclass(frozen=True)
class Step:
    """One measurement that is to be made."""

    row: Row
    round: int
    target: Target


#: Gets the step and the operations it has done so far.
Progress = Callable[[Step, int], None]


def steps(plan: Plan, targets: list[Target]) -> list[Step]:
    """Return all measurements in their order."""
    return [
        Step(row, count, target)
        for row in plan.rows
        for count in range(plan.rounds)
        for target in targets
        if row.ceiling or not target.copies
    ]


def run(plan: Plan, todo: list[Step], progress: Progress) -> Iterator[tuple[Step, list[Result]]]:
    """Make the measurements, one after the other."""
    token = f"bench-{os.getpid():x}-{time.time_ns() // 1_000_000:x}"
    for count, step in enumerate(todo):
        order = {
            "kind": step.row.kind,
            "parts": [name for name, _ in step.row.results()],
            "settings": step.row.settings,
            "prefix": f"{token}.{count}",
            "address": vars(step.target.address),
            "url": step.target.url,
            "warmup": plan.warmup,
            "seconds": plan.seconds,
            "backlog": plan.backlog,
        }
        yield step, PECULIAR.get(step.row.kind, once)(plan, step, order, progress)


def once(plan: Plan, step: Step, order: dict[str, Any], progress: Progress) -> list[Result]:
    """Make one measurement by one generator."""
    with Generator(order) as generator:
        for said in generator.says():
            if "results" in said:
                return [Result(**fields) for fields in said["results"]]
            progress(step, said["done"])
        return generator.gone()


def held(plan: Plan, step: Step, order: dict[str, Any], progress: Progress) -> list[Result]:
    """Hold many connections by as many generators as it takes, and weigh the broker meanwhile."""
    total = Result(step.row.name)
    left = plan.connections
    before = weight(step.target)
    generators: list[Generator] = []
    try:
        while left and not total.failure:
            share = min(left, PER_PROCESS)
            left -= share
            generator = Generator(order | {"settings": {"connections": share}})
            generators.append(generator)
            already = plan.connections - left - share
            for said in generator.says():
                if "results" in said:  # before its connections were open: a failure
                    total.failure = said["results"][0]["failure"]
                if "open" in said or "results" in said:
                    break
                progress(step, already + said["done"])
            else:
                return generator.gone()
        after = weight(step.target)
        for generator in generators:
            generator.go_on()
            for said in generator.says():
                if "results" in said:
                    add(total, Result(**said["results"][0]))
                    break
    finally:
        for generator in generators:
            generator.__exit__(None, None, None)
    if before is not None and after is not None and not total.failure:
        each = (after - before) / plan.connections
        total.note = f"{each / 1000:.1f} kB RSS each, {after / 1e6:.0f} MB in all"
    return [total]


def add(total: Result, part: Result) -> None:
    """Add what one of several generators found; they worked one after the other."""
    total.operations += part.operations
    total.seconds += part.seconds
    total.cpu_generator += part.cpu_generator
    if part.cpu_target is not None:
        total.cpu_target = (total.cpu_target or 0.0) + part.cpu_target
    if part.latency is not None:
        total.latency = max(total.latency or part.latency, part.latency)
    total.failure = total.failure or part.failure


def weight(target: Target) -> int | None:
    """Return the RSS of a target in bytes, if the kernel tells."""
    try:
        return sum(memory(pid)["rss"] for pid in target.address.pids) or None
    except ProcessError:
        return None


#: Kinds of rows that take more than one generator.
PECULIAR: dict[str, Callable[[Plan, Step, dict[str, Any], Progress], list[Result]]] = {
    "held": held,
}


class Generator:
    """A generator process with an order; ends with the `with` block."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.parts: list[str] = order["parts"]
        self.process = start("broker.bench.generator", [])
        self._write(json.dumps(order))

    def __enter__(self) -> Generator:
        return self

    def __exit__(self, *_: object) -> None:
        end(self.process)

    def says(self) -> Iterator[dict[str, Any]]:
        """Yield what it tells."""
        for line in lines(self.process, SILENCE):
            yield json.loads(line)

    def go_on(self) -> None:
        """Tell it to go on."""
        self._write("go on")

    def gone(self) -> list[Result]:
        """Return the failure of a generator that ended or fell silent without a result."""
        status = self.process.poll()
        how = "fell silent" if status is None else f"ended with status {status}"
        return [Result(name, failure=f"the load generator {how}") for name in self.parts]

    def _write(self, line: str) -> None:
        if self.process.stdin is not None:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
