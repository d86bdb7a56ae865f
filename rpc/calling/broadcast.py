"""A call that every worker answers: the answers, in the order in which they came.

Pure, like `calls`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rpc.calling.calls import Call
from rpc.calling.options import OnLoss
from rpc.codec import Codec
from rpc.errors import RpcError


class Answer:
    """What one worker answered to a broadcast."""

    __slots__ = ("_body", "_codec", "worker")

    def __init__(self, worker: str, body: bytes, codec: Codec) -> None:
        self.worker = worker  # who answers, as it calls itself
        self._body = body
        self._codec = codec

    def result(self) -> Any:
        """Return the result, or raise the error, as the worker said. Raises as `Client.call`."""
        return self._codec.read_reply(self._body)

    def __repr__(self) -> str:
        return f"<Answer of {self.worker}>"


class Broadcast(Call):
    """It ends with the `first` so many answers, or with those that have come by its deadline: no `Timeout`."""

    __slots__ = ("answers", "first")

    single = False

    def __init__(
        self,
        call_id: str,
        deadline: float | None,
        method: str,
        timeout: float | None,
        on_loss: OnLoss,
        codec: Codec,
        *,
        first: int | None,
    ) -> None:
        """`first`: None for all there are."""
        super().__init__(call_id, deadline, method, timeout, on_loss, codec)
        self.answers: list[Answer] = []
        self.first = first

    def take(self, headers: Mapping[str, str], body: bytes, error: RpcError | None) -> bool:
        """Take an answer; return whether it was the last."""
        if error is None:
            self.answers.append(Answer(headers.get("worker", ""), body, self.codec))
        self.error = error
        self.done = error is not None or len(self.answers) == self.first
        return self.done

    def overdue(self) -> None:
        """The time is over: what came is the result."""

    def result(self) -> list[Answer]:
        """Return the answers, or raise what kept it from being heard."""
        if self.error is not None:
            raise self.error
        return self.answers
