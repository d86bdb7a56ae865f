"""The curve of a long run: what a broker takes of its machine, moment by moment, and whether that is flat."""

from __future__ import annotations

import json
import os
import re
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.durability.ways import MB

WARM_UP = 0.25  # of a life: memory is taken, files find their size
#: What may grow in a life, and by how much: a share of itself, and at least so much.
TOLERANCE = {
    "memory": (0.10, 4 * MB),
    "files": (0.10, 4 * MB),
    "descriptors": (0.10, 5),
    "threads": (0.0, 1),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment."""

    at: float  # seconds since the beginning of the run
    life: int  # of the broker, over the whole run
    memory: int  # bytes: RssAnon
    files: int  # bytes: allocated blocks of the data directory
    descriptors: int
    threads: int
    confirmed: int  # things that were confirmed to clients since the sample before
    rate: float  # the same, a second


def measure(pid: int, directory: Path) -> dict[str, int]:
    """Return what a broker takes. Raises `OSError` if it is gone."""
    status = Path(f"/proc/{pid}/status").read_text()
    numbers = dict(re.findall(r"^(RssAnon|Threads):\s+(\d+)", status, re.MULTILINE))
    if "RssAnon" not in numbers:
        raise ProcessLookupError(pid)
    return {
        "memory": int(numbers["RssAnon"]) * 1024,
        "threads": int(numbers["Threads"]),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "files": sum(file.stat().st_blocks * 512 for file in directory.iterdir()),
    }


class Sampler(threading.Thread):
    """Takes a sample at each interval, and writes it down at once."""

    def __init__(
        self, look: Callable[[], tuple[int, int, int]], directory: Path, file: Path, every: float
    ) -> None:
        """`look` returns the broker's pid, its life, and how much was confirmed so far, or raises `OSError`."""
        super().__init__(name="sampler", daemon=True)
        self.samples: list[Sample] = []
        self._look = look
        self._directory = directory
        self._file = file
        self._every = every
        self._over = threading.Event()

    def run(self) -> None:
        """Go on until `stop`."""
        began = last = time.monotonic()
        before = 0
        with self._file.open("w") as file:
            while not self._over.wait(self._every):
                try:
                    pid, life, confirmed = self._look()
                    taken = measure(pid, self._directory)
                except OSError:  # it was killed a moment ago
                    continue
                now = time.monotonic()
                new = confirmed - before if confirmed >= before else confirmed
                rate = new / (now - last)
                sample = Sample(
                    round(now - began, 2), life, confirmed=new, rate=round(rate, 1), **taken
                )
                last, before = now, confirmed
                self.samples.append(sample)
                file.write(json.dumps(asdict(sample)) + "\n")
                file.flush()

    def stop(self) -> None:
        """Take no more."""
        self._over.set()
        self.join()


def growth(samples: Sequence[Sample], name: str) -> tuple[float, float]:
    """Return by how much something grew in a life once it was warm, as its straight line has it, and its mean."""
    warm = samples[int(len(samples) * WARM_UP) :]
    values = [getattr(sample, name) for sample in warm]
    slope = statistics.linear_regression([sample.at for sample in warm], values).slope
    return slope * (warm[-1].at - warm[0].at), statistics.fmean(values)


def judge(samples: Sequence[Sample]) -> list[str]:
    """Return what is not flat in the longest life."""
    longest = longest_life(samples)
    if len(longest) < 20:
        return [f"only {len(longest)} samples of one life: the run was too short to judge"]
    faults = []
    for name, (share, least) in TOLERANCE.items():
        grown, mean = growth(longest, name)
        if grown > max(share * mean, least):
            faults.append(f"{name} grew by {grown:,.0f}, from {mean:,.0f} on average")
    return faults


def longest_life(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples of the longest life."""
    lives = {
        sample.life: [each for each in samples if each.life == sample.life] for sample in samples
    }
    return max(lives.values(), key=len, default=[])


def describe(samples: Sequence[Sample]) -> str:
    """Return the figures of the longest life in one line."""
    longest = longest_life(samples)
    parts = []
    for name in TOLERANCE:
        grown, mean = growth(longest, name)
        unit = MB if name in ("memory", "files") else 1
        parts.append(f"{name} {mean / unit:.1f} ({grown / unit:+.2f})")
    span = longest[-1].at - longest[0].at
    return f"longest life {span:.0f} s, on average (and growth once warm): " + ", ".join(parts)


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Write the picture, with matplotlib (the extra `plot`)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    rows: list[tuple[str, str, float]] = [
        ("memory", "RssAnon, MB", MB),
        ("files", "files, MB", MB),
        ("descriptors", "descriptors", 1),
        ("rate", "confirmed a second", 1),
    ]
    axes: Any = figure.subplots(len(rows), sharex=True)
    starts = [after.at for before, after in pairwise(samples) if after.life != before.life]
    for each, (name, label, unit) in zip(axes, rows, strict=True):
        minutes = [sample.at / 60 for sample in samples]
        each.plot(
            minutes, [getattr(sample, name) / unit for sample in samples], color="#1d6fa5", lw=1
        )
        for start in starts:
            each.axvline(start / 60, color="#c2410c", lw=0.4)
        each.set_ylabel(label)
        each.set_ylim(bottom=0)
        each.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("minutes; a red line is a new broker, after a kill or an orderly end")
    figure.savefig(path)
