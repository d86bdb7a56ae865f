"""The comparison with other libraries, as far as it goes without any of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.peers.load import Clock
from tests.bench.peers.table import COLUMNS, PEERS
from tests.harness import DEADLINE

COMMAND = (sys.executable, "-m", "tests.bench.peers", "--rounds", "1", "--seconds", "0.2")
OURS = [peer for peer in PEERS if not peer.packages]


def ended(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=4 * DEADLINE, check=False
    )


def test_hoofbeat_has_a_figure_in_each_column(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    names = ",".join(peer.name for peer in OURS)
    done = ended("--peers", names, "--json", str(found))
    assert done.returncode == 0, done.stderr
    rates = json.loads(found.read_text())["rates"]
    assert set(rates) == {f"{peer.name} {column}" for peer in OURS for column in peer.loads}
    assert all(rate > 0 for rounds in rates.values() for rate in rounds)
    heads = f"| {' | '.join(COLUMNS.values())} |"
    assert done.stdout.splitlines()[0].endswith(heads)


def test_what_is_not_installed_is_said(tmp_path: Path) -> None:
    """And the others would be measured all the same."""
    done = ended("--peers", "zerorpc,pyro5", "--environments", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "MISSING: zerorpc: zerorpc is not installed: run with --install",
        "MISSING: Pyro5: Pyro5 is not installed: run with --install",
    ]
    assert "| zerorpc | no broker | – | – | – |" in done.stdout


def test_every_peer_is_there() -> None:
    """The table names modules that exist, and only loads that are columns."""
    place = Path(__file__).parent / "peers"
    for peer in PEERS:
        assert (place / f"{peer.module}.py").exists()
        assert set(peer.loads) <= set(COLUMNS)


def test_a_wrong_answer_is_refused() -> None:
    clock = Clock(0.0, 60.0)
    asked = next(clock.arguments())
    assert len(asked) == 100
    clock.came(asked, asked)
    with pytest.raises(ValueError, match="a call was answered with 'other' instead of"):
        clock.came("other", asked)
    assert clock.done == 1
