"""What became of a worker's calls, in numbers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Tally:
    """What became of the calls of one method, or of all."""

    calls: int = 0  # that are done
    seconds: float = 0.0  # spent in functions
    errors: dict[int, int] = field(default_factory=dict)  # JSON-RPC code -> how often

    def done(self, count: int, seconds: float) -> None:
        """Count calls that have ended, one way or the other."""
        self.calls += count
        self.seconds += seconds

    def failed(self, code: int) -> None:
        """Count an error."""
        self.errors[code] = self.errors.get(code, 0) + 1

    def as_json(self) -> dict[str, Any]:
        """Return it as `rpc.stats` tells it."""
        errors = {str(code): count for code, count in self.errors.items()}
        return {"calls": self.calls, "seconds": round(self.seconds, 6), "errors": errors}


class Tallies(dict[str, Tally]):
    """By method; "" for batches. A method's begins when it is asked for."""

    def __missing__(self, name: str) -> Tally:
        tally = self[name] = Tally()
        return tally

    def total(self) -> Tally:
        """Return the sum."""
        total = Tally()
        for tally in self.values():
            total.calls += tally.calls
            total.seconds += tally.seconds
            for code, count in tally.errors.items():
                total.errors[code] = total.errors.get(code, 0) + count
        return total
