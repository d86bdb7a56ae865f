"""How long a worker waits before it connects again."""

from rpc.backoff import FIRST, MOST, backoff


def test_doubles_up_to_a_limit() -> None:
    assert [backoff(n, 1.0) for n in (1, 2, 3)] == [FIRST, 2 * FIRST, 4 * FIRST]
    assert backoff(20, 1.0) == backoff(10_000, 1.0) == MOST


def test_spreads_over_half_of_it() -> None:
    assert backoff(1, 0.0) == FIRST / 2
    assert backoff(1, 0.0) < backoff(1, 0.5) < backoff(1, 1.0)
