"""The verdict on a long run can be guilty: what grows is found, what only moves is not."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.durability.ways import MB
from tests.faults.curve import Sample, describe, draw, judge


def samples(**growth: float) -> list[Sample]:
    """Return an hour of two lives, in which some things grow steadily by so much in all."""
    chance, found = random.Random(1), []
    for number in range(720):
        sample = Sample(
            at=5.0 * number,
            life=1 if number < 200 else 2,
            memory=int(40 * MB + chance.uniform(-1, 1) * MB + (10 * MB if number < 20 else 0)),
            files=int(20 * MB * min(1.0, 0.5 + number / 400)),  # finds its size
            descriptors=40 + chance.randint(-2, 2),
            threads=2,
            confirmed=500,
            rate=100.0,
        )
        changes = {
            name: int(getattr(sample, name) + by * number / 720) for name, by in growth.items()
        }
        found.append(replace(sample, **changes))
    return found


def test_a_flat_hour() -> None:
    assert judge(samples()) == []
    assert "memory 40." in describe(samples())


@pytest.mark.parametrize(
    ("name", "by"), [("memory", 12 * MB), ("files", 12 * MB), ("descriptors", 30), ("threads", 5)]
)
def test_what_grows_is_found(name: str, by: float) -> None:
    [fault] = judge(samples(**{name: by}))
    assert fault.startswith(f"{name} grew by ")


def test_a_run_that_was_too_short() -> None:
    assert "too short" in judge(samples()[:10])[0]


def test_the_picture(tmp_path: Path) -> None:
    draw(samples(), tmp_path / "curve.svg")
    assert "<svg" in (tmp_path / "curve.svg").read_text()
