"""A broker that says what the test has written down, for what a real one says only when it is ill."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

from broker.stomp import Parser
from tests.processes import PATIENCE

CONNECTED = b"CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0\n"
BEATING = b"CONNECTED\nversion:1.2\nheart-beat:200,200\n\n\0\n"


class CannedBroker:
    """Answers the first frame with the first text, the second with the second …, then hangs up."""

    def __init__(self, *answers: bytes, hang_up: bool = True) -> None:
        self._answers = answers
        self._hang_up = hang_up
        self.received = bytearray()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"stomp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        link, _ = self._listener.accept()
        with link:
            link.settimeout(PATIENCE)
            parser = Parser()
            parser.version = "1.2"
            answers = list(self._answers)
            while answers:
                data = link.recv(65536)
                if not data:
                    return
                self.received += data
                for _ in parser.feed(data):
                    if answers:
                        link.sendall(answers.pop(0))
            if not self._hang_up:
                while data := link.recv(65536):
                    self.received += data

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.join(PATIENCE)
        self._listener.close()
        assert not self._thread.is_alive()
