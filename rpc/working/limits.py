"""How much a worker takes upon itself: so many calls at once, so many waiting, so many tries. Pure."""

from __future__ import annotations

from dataclasses import dataclass

FAREWELL = 5.0  # seconds a worker waits for the broker to confirm its last acknowledgements
STREAM_PATIENCE = 300.0  # seconds a stream waits for credit before it is given up
SHED = 32  # calls beyond those that may wait that are taken in, to be refused at once
DELIVERIES = 5  # how often a call is handed out before it is suspected of killing workers


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """How a worker serves. Raises `ValueError` for what makes no sense."""

    concurrency: int = 8  # calls that run at once, and that are taken from the queue ahead
    backlog: int | None = None  # calls that may wait here before others are told `Overloaded`
    max_deliveries: int = DELIVERIES  # before a call is a dead letter, and its caller told so
    tracebacks: bool = False  # callers get the traceback of what a function raised
    doc: str = ""  # what the service is for, for `rpc.describe`

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ValueError(f"concurrency is a number of calls from 1 on, not {self.concurrency}")
        if self.backlog is not None and self.backlog < 0:
            raise ValueError(f"backlog is a number of calls from 0 on, or None: {self.backlog}")
        if self.max_deliveries < 1:
            raise ValueError(f"max_deliveries is a number from 1 on, not {self.max_deliveries}")

    @property
    def most(self) -> int | None:
        """Calls that may be here at once; None: as many as the broker gives."""
        return None if self.backlog is None else self.concurrency + self.backlog

    @property
    def prefetch(self) -> int:
        """Calls that the broker may hand out ahead."""
        return self.concurrency if self.most is None else self.most + SHED
