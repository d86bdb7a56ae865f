"""The way of a message stays short: counted in calls, so that no busy machine hides a longer one."""

import pytest

from tests.bench.calls import count_calls


@pytest.mark.parametrize(
    ("row", "python", "c"), [("plain", 6, 14), ("request", 8, 20), ("durable", 23, 53)]
)
def test_a_message_costs_few_calls(row: str, python: float, c: float) -> None:
    """Whoever adds to the common way sees it here and raises the number on purpose."""
    calls = count_calls(row)
    assert calls[0] <= python
    assert calls[1] <= c
