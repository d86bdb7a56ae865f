"""The log of a broker that runs, read while it is written."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

from tests.harness import DEADLINE, BrokerProcess, to_toml

OUTCOME = "the configuration (was read anew|stays as it was)"


class LogFile:
    """What `tests.harness.BrokerProcess` writes to standard error."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "broker.log"

    @property
    def text(self) -> str:
        return self._path.read_text()

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Return the lines, each of which is a JSON object."""
        return [json.loads(line) for line in self.text.splitlines()]

    def wait_for(self, pattern: str, times: int = 1) -> str:
        """Wait until so many lines match; return the last of them."""
        deadline = time.monotonic() + DEADLINE
        while True:
            found = [line for line in self.text.splitlines() if re.search(pattern, line)]
            if len(found) >= times:
                return found[-1]
            assert time.monotonic() < deadline, (pattern, self.text)
            time.sleep(0.01)

    def reload(
        self, broker: BrokerProcess, settings: dict[str, object] | str, pattern: str = OUTCOME
    ) -> str:
        """Let the broker read other settings; return the line that says what became of it."""
        config = self._path.with_name("hoofbeat.toml")
        config.write_text(settings if isinstance(settings, str) else to_toml(settings))
        before = len(re.findall(pattern, self.text))
        broker.process.send_signal(signal.SIGHUP)
        return self.wait_for(pattern, before + 1)
