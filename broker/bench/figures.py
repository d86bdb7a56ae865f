"""Figures out of results: the median of the rounds, the share of the ceiling, and their JSON.

The JSON is all that the table and the picture are drawn from, so that both can be drawn again later.
"""

from __future__ import annotations

import os
import platform
import statistics
from pathlib import Path
from typing import Any

from broker.bench.rows import Row
from broker.bench.targets import Target
from broker.bench.timing import Result

FORMAT = 2  # of the JSON; raised when a field changes its meaning

#: What is measured of one target in one row, ready for JSON.
Figure = dict[str, Any]


def figure(results: list[Result], ceiling: list[Result]) -> Figure:
    """Return the figure of one row and target from its rounds, and the ceiling's rounds if there is one.

    Rates, times and percentiles are medians of the rounds, `max` is the largest of all. The share is the
    median of the rounds' own shares: a round is compared with the ceiling that was measured just before
    it, when the machine was as fast. A failure in any round is the whole figure's failure.
    """
    failures = [result.failure for result in results if result.failure]
    if failures:
        return {"failure": failures[0], "rounds": [result.rate for result in results]}
    skipped = [result.skipped for result in results if result.skipped]
    if skipped:
        return {"skipped": skipped[0], "rounds": [result.rate for result in results]}
    shares = [
        result.rate / copied.rate
        for result, copied in zip(results, ceiling, strict=False)  # which may be a round ahead
        if copied.rate
    ]
    latencies = [result.latency for result in results if result.latency is not None]
    latency = None
    if latencies:
        latency = {
            "p50": statistics.median(each[0] for each in latencies),
            "p99": statistics.median(each[1] for each in latencies),
            "max": max(each[2] for each in latencies),
        }
    return {
        "rate": statistics.median(result.rate for result in results),
        "share": statistics.median(shares) if shares else None,
        "latency_ms": latency,
        "seconds": statistics.median(result.seconds for result in results),
        "operations": sum(result.operations for result in results),
        "cpu_seconds": {
            "target": median_if_known([result.cpu_target for result in results]),
            "generator": statistics.median(result.cpu_generator for result in results),
            "stolen": median_if_known([result.stolen for result in results]),
        },
        "rounds": [result.rate for result in results],
        "note": results[-1].note,
    }


def median_if_known(values: list[float | None]) -> float | None:
    """Return the median, or None if any is unknown."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if len(known) == len(values) else None


class Collected:
    """All results so far, by row part and target."""

    def __init__(self, rows: list[Row], targets: list[Target]) -> None:
        self.rows = rows
        self.targets = targets
        self._results: dict[tuple[str, str], list[Result]] = {}

    def add(self, target: Target, results: list[Result]) -> None:
        """Take what one measurement found."""
        for result in results:
            self._results.setdefault((result.row, target.name), []).append(result)

    def as_rows(self) -> list[dict[str, Any]]:
        """Return the rows that have results, ready for JSON."""
        rows = []
        for row in self.rows:
            for name, title in row.results():
                found = {
                    target.name: self._results[name, target.name]
                    for target in self.targets
                    if (name, target.name) in self._results
                }
                if not found:
                    continue
                ceiling = self._ceiling(name)
                figures = {
                    target.name: figure(found[target.name], [] if target.copies else ceiling)
                    for target in self.targets
                    if target.name in found
                }
                rows.append(
                    {
                        "name": name,
                        "title": title,
                        "unit": row.unit,
                        "ceiling": row.ceiling,
                        "figures": figures,
                    }
                )
        return rows

    def _ceiling(self, name: str) -> list[Result]:
        for target in self.targets:
            results = self._results.get((name, target.name), [])
            if target.copies and results and not any(result.failure for result in results):
                return results
        return []


def machine() -> dict[str, Any]:
    """Return what a reader must know of the machine to judge figures."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux: the architecture must do
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def failures(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for every failure."""
    return [
        f"{row['name']}, {target}: {found['failure']}"
        for row in rows
        for target, found in row["figures"].items()
        if found.get("failure")
    ]
