"""What the user sees: the table, what stands below it, and progress without a terminal."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from broker.bench import rows
from broker.bench.measure import Step
from broker.bench.report import Display, cells, remarks, show
from broker.bench.targets import Fresh

FIGURE = {
    "rate": 12345.6,
    "share": 0.256,
    "latency_ms": {"p50": 1.234, "p99": 5.678, "max": 1234.5},
    "seconds": 2.0,
    "operations": 24691,
    "cpu_seconds": {"target": 1.5, "generator": 0.25, "stolen": 0.0},
    "rounds": [12345.6],
    "note": "",
}
CEILING = FIGURE | {"rate": 48225.0, "share": None, "latency_ms": None}
FAILED = {"failure": "1 of 5 messages never came", "rounds": [0.0]}
SKIPPED = {"skipped": "it does not know selectors", "rounds": [0.0]}


def found(ceiling: bool = True, **figures: Any) -> dict[str, Any]:
    """Return a run with one row."""
    return {
        "format": 2,
        "when": "2026-01-01T00:00:00+00:00",
        "machine": {"processor": "Z80", "cores": 2, "system": "CP/M 3", "python": "3.11.0"},
        "settings": {"seconds": 2.0, "warmup": 0.5, "rounds": 3, "backlog": 1, "connections": 1},
        "targets": [
            {"name": name, "url": "stomp://127.0.0.1:1", "copies": name == "copying"}
            for name in figures
        ],
        "rows": [
            {
                "name": "plain",
                "title": "plain messages",
                "unit": "messages",
                "ceiling": ceiling,
                "figures": figures,
            }
        ],
    }


def printed(run: dict[str, Any], width: int = 110) -> list[str]:
    """Return the lines that are shown."""
    out = io.StringIO()
    show(Console(file=out, width=width), run)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_the_table() -> None:
    """A line a target below its row's title: rate, share of the ceiling, latencies, CPU seconds."""
    lines = printed(found(copying=CEILING, hoofbeat=FIGURE))
    assert re.split(" {2,}", lines[0].strip()) == [
        "per second",
        "of ceiling",
        "p50 ms",
        "p99 ms",
        "max ms",
        "CPU s",
        "gen. s",
    ]
    assert lines[1] == "plain messages (messages)"
    assert lines[2].split() == ["copying", "48,225", "1.50", "0.25"]
    assert lines[3].split() == (
        ["hoofbeat", "12,346", "0.26", "1.23", "5.68", "1,234.50", "1.50", "0.25"]
    )


def test_a_failure_stands_where_the_figure_would() -> None:
    lines = printed(found(hoofbeat=FAILED))
    assert " ".join(" ".join(lines[2:4]).split()) == "hoofbeat: FAILED, 1 of 5 messages never came"


def test_what_a_broker_cannot_do_is_said() -> None:
    lines = printed(found(hoofbeat=SKIPPED))
    assert " ".join(" ".join(lines[2:4]).split()) == "hoofbeat: –, it does not know selectors"


@pytest.mark.parametrize(("ceiling", "shown"), [(True, ["12,346"]), (False, ["12,346", "–"])])
def test_a_row_that_copying_cannot_do_has_no_share(ceiling: bool, shown: list[str]) -> None:
    """And says so; where the ceiling only was not measured, nothing stands."""
    line = printed(found(ceiling, hoofbeat=FIGURE | {"share": None}))[2]
    assert line.split()[1 : 1 + len(shown)] == shown
    assert line.split()[1 + len(shown)] == "1.23"


def test_a_note_stands_behind_the_name_and_the_unknown_is_left_empty() -> None:
    unknown = FIGURE | {"cpu_seconds": {"target": None, "generator": 0.25, "stolen": None}}
    texts = [text.plain for text in cells("hoofbeat", unknown | {"note": "35 MB/s"}, True)]
    assert texts[0] == "  hoofbeat (35 MB/s)"
    assert texts[-2:] == ["", "0.25"]


def test_the_machine_and_the_settings_stand_below() -> None:
    text = " ".join(printed(found(copying=CEILING, hoofbeat=FIGURE)))
    assert "Median of 3 × 2 s" in text
    assert "“copying” is a process that only copies the same bytes: the ceiling." in text
    assert "Z80, 2 cores, CP/M 3, Python 3.11.0." in text
    assert "virtual machine" not in text
    assert "ceiling." not in " ".join(remarks(found(hoofbeat=FIGURE)))


@pytest.mark.parametrize(("stolen", "warned"), [(0.1, False), (0.4, True)])
def test_a_host_that_kept_the_cpu_for_others_is_mentioned(stolen: float, warned: bool) -> None:
    """From a twentieth of the CPU time on."""
    taken = FIGURE | {"cpu_seconds": {"target": 1.5, "generator": 0.25, "stolen": stolen}}
    text = " ".join(remarks(found(hoofbeat=taken, other=FAILED)))
    assert ("kept 10% of its CPU time for others" in text) == warned


def test_without_a_terminal_each_measurement_is_a_line() -> None:
    out = io.StringIO()
    [row] = rows.select(["plain"])
    step = Step(row, 0, Fresh("hoofbeat"))
    with Display(Console(file=out, width=110), 2) as display:
        display.working(step, 10)
        display.done(step, [])
        display.done(step, found(hoofbeat=FIGURE)["rows"])
    assert out.getvalue().splitlines() == [
        "1/2 plain messages · hoofbeat",
        "2/2 plain messages · hoofbeat",
    ]


def test_on_a_terminal_progress_and_the_table_so_far_are_live() -> None:
    out = io.StringIO()
    console = Console(file=out, width=110, force_terminal=True, color_system=None)
    [row] = rows.select(["plain"])
    step = Step(row, 0, Fresh("hoofbeat"))
    with Display(console, 2) as display:
        display.working(step, 10)
        display.done(step, found(hoofbeat=FIGURE)["rows"])
        display.working(step, 20)
    text = out.getvalue()
    assert "1/2" in text
    assert "plain messages · hoofbeat" in text
    assert "12,346" in text
