"""When a cron text means: five fields, in the local time zone.

Minute, hour, day of the month, month, day of the week, as Debian's cron reads them (`cronsim` does): also when the
clocks change. Jobs of a given hour then run once; those of every hour or minute go on as time does. It reads
no clock: it is asked what follows a moment. What the zone is, Python asks the system.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from cronsim import CronSim, CronSimError

FIELDS = 5
LONGEST = 255  # characters; a longer text is no schedule but an attack
MINUTE = 60_000  # milliseconds
RIGHT = (
    "It reads MINUTE HOUR DAY MONTH WEEKDAY, as in '0 6 * * MON-FRI': numbers, names, *, ranges a-b, lists"
    " a,b and steps */n."
)


class LocalZone(tzinfo):
    """The system's time zone, with its changes in future and past."""

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        """Return how far the zone's clocks are ahead."""
        return None if dt is None else dt.replace(tzinfo=None).astimezone().utcoffset()

    def dst(self, dt: datetime | None) -> timedelta | None:
        """Nobody asks."""
        return None

    def tzname(self, dt: datetime | None) -> str | None:
        """Return what the zone is called then."""
        return None if dt is None else dt.replace(tzinfo=None).astimezone().tzname()

    def fromutc(self, dt: datetime) -> datetime:
        """Return the zone's time for a UTC time; of two that read the same it is told which."""
        here = dt.replace(tzinfo=UTC).astimezone()
        found = here.replace(tzinfo=self, fold=0)
        return found if found.utcoffset() == here.utcoffset() else found.replace(fold=1)


LOCAL = LocalZone()


def next_cron(text: str, after_ms: int) -> int:
    """Return the first moment after `after_ms` that the text means, both in milliseconds since 1970.

    Raises `ValueError`, in words for whoever wrote the text, if it makes no sense or means no moment in the
    next 50 years.
    """
    return _next(text, after_ms // MINUTE)


@lru_cache(maxsize=1024)  # many jobs have the same text and are due in the same minute
def _next(text: str, minute: int) -> int:
    if len(text) > LONGEST or len(text.split()) != FIELDS:
        raise ValueError(RIGHT)
    after = minute * MINUTE
    try:
        for tick in CronSim(text, datetime.fromtimestamp(after / 1000, LOCAL)):
            found = round(tick.timestamp() * 1000)
            if found > after:  # where clocks are set back, times come twice
                return found
    except (CronSimError, ValueError, OverflowError) as error:
        raise ValueError(f"{error}. {RIGHT}") from None
    raise ValueError(f"It means no moment in the next 50 years. {RIGHT}")
