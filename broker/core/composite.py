"""A destination that an operator composed of others: what is sent there goes to all of them.

Just the rule as it was written; `core.routes` makes a route of it. As ActiveMQ's `compositeQueue` and
`compositeTopic`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CompositeRule:
    """Destinations are written as clients write them, with `/queue/` or `/topic/` in front."""

    destination: str
    forward_to: tuple[str, ...]
    forward_only: bool = True  # nothing stays in `destination` itself
    #: Destination in `forward_to` → the text of the selector that a message must match to go there.
    filters: Mapping[str, str] = field(default_factory=dict)
