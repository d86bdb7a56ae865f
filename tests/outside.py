"""What the core needs of the floors above it, as the broker itself has it; only time does not pass."""

from __future__ import annotations

from broker.core.broker import Outside
from broker.cron import next_cron
from broker.filters import make_filter
from broker.tail import annotate, rename


def outside() -> Outside:
    """Return the functions; nobody wakes the schedule."""
    return Outside(
        annotate,
        make_filter,
        next_cron,
        lambda tail, seq: rename(tail, b"test-%d" % seq),
        lambda when: None,
    )
