"""What the user sees: a live display while it measures, and the table.

Draws from the JSON form of `figures` only.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from broker.bench.figures import Figure
from broker.bench.measure import Step

STOLEN_WORTH_SAYING = 0.05  # of the machine's CPU time while measuring


def table(rows: list[dict[str, Any]]) -> Table:
    """Return the table of all figures."""
    drawn = Table(box=None, padding=(0, 1), header_style="bold", pad_edge=False)
    drawn.add_column("")
    for title in ("per second", "of ceiling", "p50 ms", "p99 ms", "max ms", "CPU s", "gen. s"):
        drawn.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        drawn.add_row(Text(f"{row['title']} ({row['unit']})", style="bold"))
        for name, figure in row["figures"].items():
            drawn.add_row(*cells(name, figure, row["ceiling"]))
    return drawn


def cells(name: str, figure: Figure, ceiling: bool) -> list[Text]:
    """Return one line of the table; `ceiling`: whether its row can have one."""
    if figure.get("failure"):
        return [Text(f"  {name}: FAILED, {figure['failure']}", style="bold red")]
    if figure.get("skipped"):
        return [Text(f"  {name}: –, {figure['skipped']}", style="yellow")]
    note = f" ({figure['note']})" if figure["note"] else ""
    latency = figure["latency_ms"] or {}
    used = figure["cpu_seconds"]
    share = figure["share"]
    return [
        Text(f"  {name}{note}"),
        Text(f"{figure['rate']:,.0f}", style="green"),
        Text(f"{share:.2f}" if share is not None else "" if ceiling else "–"),
        *(Text(f"{latency[key]:,.2f}" if latency else "") for key in ("p50", "p99", "max")),
        Text("" if used["target"] is None else f"{used['target']:.2f}"),
        Text(f"{used['generator']:.2f}"),
    ]


def remarks(found: dict[str, Any]) -> list[str]:
    """Return what stands below the table."""
    settings = found["settings"]
    said = [
        f"Median of {settings['rounds']} × {settings['seconds']:g} s;"
        " CPU s: the broker's CPU seconds in that time, gen. s: the load generator's."
    ]
    names = [target["name"] for target in found["targets"] if target["copies"]]
    if names:
        said.append(f"“{names[0]}” is a process that only copies the same bytes: the ceiling.")
    machine = found["machine"]
    said.append(
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']},"
        f" Python {machine['python']}."
    )
    stolen, available = 0.0, 0.0
    for row in found["rows"]:
        for figure in row["figures"].values():
            used = figure.get("cpu_seconds")
            if used and used["stolen"] is not None:
                stolen += used["stolen"]
                available += figure["seconds"] * machine["cores"]
    if available and stolen / available > STOLEN_WORTH_SAYING:
        said.append(
            f"The host of this virtual machine kept {stolen / available:.0%} of its CPU time for"
            " others meanwhile: the figures are too low, and only the shares can be trusted."
        )
    return said


def show(console: Console, found: dict[str, Any]) -> None:
    """Print the table and what belongs to it."""
    console.print(table(found["rows"]))
    console.print()
    for line in remarks(found):
        console.print(line, style="dim", highlight=False)


class Display:
    """The live display: a progress bar, what is measured now, and the table as far as it is known.

    Without a terminal it prints a line for each measurement instead.
    """

    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
        )
        self._task = self._progress.add_task("", total=total)
        self._rows: list[dict[str, Any]] = []
        self._since: tuple[Step | None, float] = (None, 0.0)
        self._live = Live(self._render(), console=console, transient=True, refresh_per_second=5)

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def working(self, step: Step, done: int) -> None:
        """Show what is measured now, and how fast it goes."""
        now = time.monotonic()
        if self._since[0] is not step:
            self._since = (step, now)
        elapsed = now - self._since[1]
        rate = f" {done / elapsed:,.0f} {step.row.unit}/s" if elapsed > 0.1 else ""
        self._progress.update(
            self._task, description=f"{step.row.title} · {step.target.name}{rate}"
        )

    def done(self, step: Step, rows: list[dict[str, Any]]) -> None:
        """Show the table as it is after a measurement."""
        self._rows = rows
        self._progress.advance(self._task)
        if self.console.is_terminal:
            self._live.update(self._render())
        else:
            finished = self._progress.tasks[0]
            self.console.print(
                f"{finished.completed:.0f}/{finished.total:.0f} {step.row.title} · {step.target.name}",
                highlight=False,
            )

    def _render(self) -> Group:
        return Group(table(self._rows), Text(), self._progress)
