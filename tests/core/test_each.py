"""One fault is one's own."""

import pytest

from broker.core.each import for_each


def test_everybody_is_served_before_a_fault_is_told() -> None:
    """A connection that fails does not take the others' receipts with it; the first fault is the one told."""
    served = []

    def serve(number: int) -> None:
        if number % 2:
            raise ValueError(number)
        served.append(number)

    with pytest.raises(ValueError, match="1"):
        for_each([0, 1, 2, 3, 4], serve)
    assert served == [0, 2, 4]
