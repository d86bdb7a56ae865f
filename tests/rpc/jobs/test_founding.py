"""The listings of the founding article as they stand in examples/: three brokers, none of which is the centre."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rpc.jobs import Peer, Sender, Status
from tests.processes import PATIENCE, BrokerProcess, Process

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
TEST, MULTICAST = "this is a test message", "this is a test multicast message"


def settings() -> dict[str, str]:
    """Return the three files that docs/jobs.md shows, by name."""
    page = (ROOT / "docs" / "jobs.md").read_text()
    return dict(re.findall(r"^```toml\n# (\w+)\.toml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[dict[str, BrokerProcess]]:
    """Return the three brokers as docs/jobs.md sets them up, but for their addresses."""
    running: dict[str, BrokerProcess] = {}
    with ExitStack() as stack:
        for name in ("server1", "server2", "client"):
            text = settings()[name]
            for other, there in running.items():
                text = re.sub(rf"stomp://{other}[^\"]*", there.url, text)
            config = tmp_path / f"{name}.toml"
            config.write_text(text)
            broker = BrokerProcess(store=f"lmdb:{tmp_path / name}", config=str(config))
            running[name] = stack.enter_context(broker)
        yield running


def test_the_two_listings(brokers: dict[str, BrokerProcess]) -> None:
    """The second server comes late: its message waits for it."""
    with ExitStack() as stack:

        def start(name: str, broker: str) -> Process:
            program = Process(str(EXAMPLES / f"founding_{name}.py"), brokers[broker].url)
            return stack.enter_context(program)

        one, client = start("server", "server1"), start("client", "client")
        client.wait_for_line("^Now it's processed by the peer, yieehaaa!$")
        assert client.wait() == 0
        two = start("server", "server2")
        with Sender(brokers["client"].url) as sender:
            last = sender.multicast([Peer("server1"), Peer("server2")], "the last")
            assert last.wait(PATIENCE) is Status.PROCESSED
        for server, texts in ((one, [TEST, MULTICAST, TEST]), (two, [MULTICAST])):
            server.wait_for_line("^Message is: the last$")
            server.signal(signal.SIGTERM)
            assert server.wait() == 0
            wanted = [
                ("Sender was: client", f"Message is: {text}") for text in (*texts, "the last")
            ]
            assert [*zip(server.lines[::2], server.lines[1::2], strict=True)] == wanted
