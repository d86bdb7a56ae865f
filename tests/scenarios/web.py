"""A broker with a listener for HTTP, as a process."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.forks import Fork, program
from tests.harness import COMMAND, DEADLINE, read_line

PORTS = re.compile(r"ready on stomp://127\.0\.0\.1:(\d+), https?://127\.0\.0\.1:(\d+)")


class WebBroker:
    """`hoofbeat run` with a configuration that names the second listener."""

    def __init__(self, directory: Path, config: str, store: str = "memory:") -> None:
        """Start it and wait until it is ready."""
        (directory / "web.toml").write_text(config)
        code, rest = program((*COMMAND[1:], "--config", "web.toml", "--store", store))
        out, stdout = os.pipe()
        with (directory / "web.log").open("ab") as log, open(os.devnull, "rb") as nothing:
            self.process = Fork(
                code,
                *rest,
                stdin=nothing.fileno(),
                stdout=stdout,
                stderr=log.fileno(),
                cwd=str(directory),
            )
        os.close(stdout)
        self._out = open(out)  # noqa: SIM115
        line = read_line(self._out)
        found = PORTS.search(line)
        assert found, (line, (directory / "web.log").read_text())
        self.port, self.http_port = int(found[1]), int(found[2])

    def stop(self, number: int) -> int:
        """Send it a signal and return how it ended."""
        self.process.send_signal(number)
        status = self.process.wait(DEADLINE)
        self._out.close()
        return status

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(DEADLINE)
        self._out.close()
