"""What docs/rpc-protocol.md shows by hand, done as it stands: what is typed is sent, what is printed comes.

The test is the shell: it reads `printf '…' >&3` and opens the sockets itself. Which values differ every time
the page says, and this takes from there; what a frame calls its `ack` is put into what is typed later.
"""

from __future__ import annotations

import json
import re
import socket
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from broker.stomp import Frame, Parser
from tests.processes import PATIENCE, BrokerProcess, Process

PAGE = Path(__file__).parents[2] / "docs/rpc-protocol.md"
DEFAULT = "stomp://127.0.0.1:61613"
CALLER, WORKER = 3, 4  # file descriptors on the page
LISTENS = {"replies": CALLER, "calls": WORKER, "all": WORKER}  # whose subscriptions these are
TYPED = re.compile(r"printf '([^'%]*)' >&(\d)\n")


class Step(NamedTuple):
    """Something that is typed, and what it leads to."""

    typed: list[tuple[int, str]]  # to which connection, and what
    printed: str


def section(text: str) -> str:
    """Return the part of the page with the examples."""
    return re.split(r"^## ", text.partition("\n## By hand\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def blocks(text: str) -> list[tuple[str, str]]:
    """Return the blocks of code, each with its language."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def steps(text: str) -> list[Step]:
    """Return what is to be done. Nothing that is typed may be left out."""
    found: list[Step] = []
    for language, code in blocks(text):
        if language == "sh":
            typed = [(int(to), what) for what, to in TYPED.findall(code)]
            rest = TYPED.sub("", code).strip()
            assert not typed or not rest, rest
            if typed:
                found.append(Step(typed, ""))
        elif not language:
            found[-1] = found[-1]._replace(printed=code)
    return found


def bytes_of(typed: str) -> bytes:
    """Return what `printf` makes of it."""
    assert set(re.findall(r"\\.", typed)) <= {"\\n", "\\0"}
    return typed.replace("\\n", "\n").replace("\\0", "\0").encode()


def frames_of(printed: str) -> list[Frame]:
    """Return the frames that a terminal shows; `^@` is NUL."""
    parser = Parser()
    frames = []
    for each in printed.split("^@\n"):  # a length that is not right does not carry on
        if each:
            parser.version = "1.2"
            [frame] = parser.feed(f"{each}\0".encode())
            frames.append(frame)
    assert parser.error is None
    return frames


def varying(text: str) -> set[str]:
    """Return the names of what the page says differs every time."""
    [sentence] = re.findall(r"Yours will differ in ([^.]*)\.", text)
    return set(re.findall(r"`([^`]+)`", sentence))


def steady(value: Any, varies: set[str]) -> Any:
    """Return a value of JSON without what differs every time."""
    if isinstance(value, dict):
        return {k: None if k in varies else steady(v, varies) for k, v in value.items()}
    return [steady(each, varies) for each in value] if isinstance(value, list) else value


def likeness(frame: Frame, varies: set[str]) -> tuple[str, list[tuple[str, str | None]], Any]:
    """Return what two runs of an example have in common."""
    body: Any = frame.body.decode()
    skipped = varies
    if frame.headers.get("content-type") == "application/json":
        value = json.loads(body)
        body = steady(value, varies)
        if body != value:
            skipped = varies | {"content-length"}
    headers = [(k, None if k in skipped else v) for k, v in frame.headers.items()]
    return frame.command, headers, body


class Line:
    """One `nc`."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._parser = Parser()
        self._parser.version = "1.2"
        self._frames: deque[Frame] = deque()

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def frame(self) -> Frame:
        while not self._frames:
            data = self._socket.recv(65536)
            assert data, "the broker hung up"
            self._frames.extend(self._parser.feed(data))
        return self._frames.popleft()

    def close(self) -> bytes:
        """Hang up; return what nobody has read."""
        self._socket.settimeout(0)
        try:
            return self._socket.recv(65536)
        except BlockingIOError:
            return b""
        finally:
            self._socket.close()


class Conversation:
    """All that is typed and printed, from the first example to the last."""

    def __init__(self, port: int) -> None:
        self._lines = {CALLER: Line(port), WORKER: Line(port)}
        self._named: dict[str, str] = {}  # what the page calls it: what it is called here

    def do(self, step: Step) -> list[tuple[Frame, Frame]]:
        """Type, and return what is printed on the page, each beside what came."""
        for to, typed in step.typed:
            for name, real in self._named.items():
                typed = typed.replace(f"\\nid:{name}\\n", f"\\nid:{real}\\n")
            self._lines[to].write(bytes_of(typed))
        pairs = []
        for shown in frames_of(step.printed):
            line = LISTENS.get(shown.headers.get("subscription", ""), step.typed[-1][0])
            came = self._lines[line].frame()
            if "ack" in shown.headers:
                self._named[shown.headers["ack"]] = came.headers.get("ack", "")
            pairs.append((shown, came))
        return pairs

    def close(self) -> list[bytes]:
        return [line.close() for line in self._lines.values()]


def test_every_example_on_the_page(tmp_path: Path) -> None:
    text = section(PAGE.read_text())
    varies, todo = varying(text), steps(text)
    [source] = [code for language, code in blocks(text) if language == "python"]
    assert len(todo) > 10
    with BrokerProcess(store=f"lmdb:{tmp_path / 'data'}") as broker:
        code = source.replace(DEFAULT, broker.url)
        assert code.count(broker.url) == 1
        ready = code.replace("worker.run()", 'worker.run(lambda: print("ready", flush=True))')
        with Process("-c", ready) as worker:
            worker.wait_for_line("^ready$")
            conversation = Conversation(broker.port)
            try:
                for step in todo:
                    for shown, came in conversation.do(step):
                        assert likeness(came, varies) == likeness(shown, varies)
            finally:
                unread = conversation.close()
            assert unread == [b"", b""]


def test_the_lengths_on_the_page_are_right() -> None:
    for step in steps(section(PAGE.read_text())):
        for frame in frames_of(step.printed):
            if "content-length" in frame.headers:
                assert int(frame.headers["content-length"]) == len(frame.body), frame


@pytest.mark.parametrize(
    ("shown", "came", "same"),
    [
        ("A\nx:1\n\nb^@\n", "A\nx:2\n\nb^@\n", True),
        ("A\ny:1\n\nb^@\n", "A\ny:2\n\nb^@\n", False),
        ("A\nx:1\n\nb^@\n", "A\n\nb^@\n", False),
        ("A\nx:1\ny:1\n\n^@\n", "A\ny:1\nx:1\n\n^@\n", False),
        ("A\n\nb^@\n", "A\n\nc^@\n", False),
        ("A\n\n^@\n", "B\n\n^@\n", False),
        (
            'A\ncontent-type:application/json\n\n[{"x":1,"y":2}]^@\n',
            'A\ncontent-type:application/json\n\n[{"x":7,"y":2}]^@\n',
            True,
        ),
        (
            'A\ncontent-type:application/json\n\n[{"x":1,"y":2}]^@\n',
            'A\ncontent-type:application/json\n\n[{"x":1,"y":3}]^@\n',
            False,
        ),
    ],
)
def test_a_difference_is_found(shown: str, came: str, same: bool) -> None:
    """The test above would say nothing if everything were alike."""
    [one], [other] = frames_of(shown), frames_of(came)
    assert (likeness(one, {"x"}) == likeness(other, {"x"})) is same
