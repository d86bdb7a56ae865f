"""Header blocks that repeat: what is learned of them."""

from __future__ import annotations

from itertools import count

from broker.stomp.template import KIND, Templates

KIND_OF_SEND = b"SEND\nd"[:KIND]


def learn(templates: Templates, blocks: list[dict[str, str]]) -> list[int]:
    """Read blocks as a parser does; return the numbers of those that had to be read line by line."""
    missed = []
    for number, headers in enumerate(blocks):
        block = "\n".join(["SEND", *(f"{n}:{v}" for n, v in headers.items()), "", ""]).encode()
        template = templates.known.get(KIND_OF_SEND)
        if template is None or template.match(block) is None:
            missed.append(number)
            templates.learn(KIND_OF_SEND, "SEND", headers)
    return missed


def test_a_worker_that_answers_several_clients_in_runs() -> None:
    """Replies go to one client, then to another: soon all of them are read by one template."""
    ids = count(1)
    blocks = [
        {"destination": f"/queue/replies.{n // 64 % 4}", "correlation-id": str(next(ids))}
        for n in range(64 * 4 * 10)
    ]
    missed = learn(Templates(), blocks)
    assert max(missed) < 64 * 4  # before it has answered everybody once
