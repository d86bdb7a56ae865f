"""The two programs of the demonstration, as they stand."""

import signal
from pathlib import Path

from tests.processes import Process

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_demonstration(broker_url: str) -> None:
    with Process(str(EXAMPLES / "test_server.py"), broker_url) as server:
        server.wait_for_line("ready")
        with Process(str(EXAMPLES / "test_client.py"), broker_url) as client:
            client.wait_for_line(r"^Result is:$")
            client.wait_for_line(r"^\{'Whee': 123\}$")
            client.wait_for_line(r"^Which took ~\d+\.\d\ds to process$")
            assert client.wait() == 0
        server.wait_for_line("^Remote function called with argument: Hello$")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
