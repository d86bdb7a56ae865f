"""Cron texts: what they mean, in zones whose clocks change, and what is none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from broker.cron import LOCAL, next_cron


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One hour before UTC, two in summer: forward on 2026-03-29, back on 2026-10-25, both at 01:00 UTC."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def moment(text: str) -> int:
    """Return the milliseconds since 1970 of a time in UTC, or with the offset it names."""
    return int(datetime.fromisoformat(text if "+" in text else text + "+00:00").timestamp() * 1000)


def ticks(text: str, after: str, count: int) -> list[str]:
    """Return the next ticks in UTC."""
    found = []
    when = moment(after)
    for _ in range(count):
        when = next_cron(text, when)
        found.append(time.strftime("%m-%dT%H:%M", time.gmtime(when / 1000)))
        assert when % 60_000 == 0
    return found


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("* * * * *", "2026-07-01T10:00", ["07-01T10:01", "07-01T10:02"]),
        ("* * * * *", "2026-07-01T10:00:59.999", ["07-01T10:01"]),
        ("*/15 * * * *", "2026-07-01T10:07", ["07-01T10:15", "07-01T10:30", "07-01T10:45"]),
        ("0 * * * *", "2026-07-01T22:30", ["07-01T23:00", "07-02T00:00"]),
        ("0 12 * * *", "2026-07-01T00:00", ["07-01T10:00", "07-02T10:00"]),  # noon in Berlin
        ("0 12 * * *", "2026-12-01T00:00", ["12-01T11:00"]),
        ("30 6 * * MON-FRI", "2026-07-03T05:00", ["07-06T04:30"]),  # Friday, then Monday
        ("30 6 * * 1-5", "2026-07-03T05:00", ["07-06T04:30"]),
        ("0 0 * * 0", "2026-07-03T05:00", ["07-04T22:00"]),
        ("0 0 * * 7", "2026-07-03T05:00", ["07-04T22:00"]),
        ("0 0 1,15 * *", "2026-07-02T00:00", ["07-14T22:00", "07-31T22:00"]),
        ("0 0 1 jan *", "2026-07-02T00:00", ["12-31T23:00"]),
        ("0 0 29 2 *", "2026-07-02T00:00", ["02-28T23:00"]),  # of 2028
        ("0 0 13 * FRI", "2026-02-10T00:00", ["02-12T23:00", "02-19T23:00"]),  # either will do
        ("  5   4 * * * ", "2026-07-01T00:00", ["07-01T02:05"]),
    ],
)
def test_what_a_text_means(text: str, after: str, expected: list[str]) -> None:
    assert ticks(text, after, len(expected)) == expected


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        # Forward: 02:30 does not exist; a job of that hour runs as soon as there is time again.
        ("30 2 * * *", "2026-03-28T00:00", ["03-28T01:30", "03-29T01:00", "03-30T00:30"]),
        ("*/30 * * * *", "2026-03-29T00:10", ["03-29T00:30", "03-29T01:00", "03-29T01:30"]),
        ("0 12 * * *", "2026-03-28T12:00", ["03-29T10:00"]),
        # Back: 02:30 comes twice; a job of that hour runs the first time only.
        ("30 2 * * *", "2026-10-24T12:00", ["10-25T00:30", "10-26T01:30"]),
        ("30 2 * * *", "2026-10-25T00:45", ["10-26T01:30"]),
        ("30 2 * * *", "2026-10-25T01:10", ["10-26T01:30"]),
        (
            "*/30 * * * *",
            "2026-10-24T23:40",
            ["10-25T00:00", "10-25T00:30", "10-25T01:00", "10-25T01:30", "10-25T02:00"],
        ),
    ],
)
def test_when_the_clocks_change(text: str, after: str, expected: list[str]) -> None:
    assert ticks(text, after, len(expected)) == expected


def test_the_zone_tells_twins_apart() -> None:
    first = datetime.fromtimestamp(moment("2026-10-25T00:30") / 1000, LOCAL)
    second = datetime.fromtimestamp(moment("2026-10-25T01:30") / 1000, LOCAL)
    assert (first.hour, first.fold, first.tzname()) == (2, 0, "CEST")
    assert (second.hour, second.fold, second.tzname()) == (2, 1, "CET")
    assert second.timestamp() - first.timestamp() == 3600


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "@daily", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *"),
        *("* * 32 * *", "* * * 13 *", "* * * 0 *", "* * * * 8", "-1 * * * *", "5-1 * * * *"),
        *("*/0 * * * *", "x * * * *", "1,,2 * * * *", "1.5 * * * *", "٣ * * * *", "* * * FOO *"),
        "1," * 130 + "1 * * * *",
        "9" * 200 + " * * * *",
    ],
)
def test_what_is_no_cron_text_is_told_what_would_be_one(text: str) -> None:
    with pytest.raises(ValueError, match="MINUTE HOUR DAY MONTH WEEKDAY"):
        next_cron(text, 0)


@pytest.mark.parametrize("text", ["0 0 30 2 *", "0 0 31 2,4,6 *", "0 0 */29 2 MON#5"])
def test_what_never_comes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="MINUTE HOUR"):
        next_cron(text, 0)
