"""How long to wait before trying to connect again. Pure: the chance is passed in."""

FIRST = 0.1  # seconds, before the second try
MOST = 5.0  # seconds


def backoff(failures: int, chance: float) -> float:
    """Return the seconds to wait after `failures` tries that failed in a row (1, 2, …).

    Doubles from `FIRST` up to `MOST`, times 0.5 to 1 by `chance` (0 to 1), so that many workers do not
    come back to a restarted broker all at the same moment.
    """
    longest = FIRST * 2.0 ** min(failures - 1, 16)
    return min(longest, MOST) * (0.5 + chance / 2)
