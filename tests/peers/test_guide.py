"""The guide "write a transport in an hour" keeps its word: its example is installed, and carries messages."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import COMMAND, PASSCODE, Client, read_line, write_users
from tests.scenarios.steps import bodies, put, subscribe, take

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "write-a-transport.md"

Start = Callable[..., list[str]]


def blocks(language: str) -> list[str]:
    """Return the guide's blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Install the example as the guide says, as far as Python looks; return where."""
    config = configparser.ConfigParser()
    [ini] = blocks("ini")
    config.read_string(ini)
    module = config["options"]["py_modules"]
    site = tmp_path / "site"
    metadata = site / f"{module}-1.0.dist-info"
    metadata.mkdir(parents=True)
    [code] = blocks("python")
    (site / f"{module}.py").write_text(code)
    (metadata / "METADATA").write_text(f"Name: {config['metadata']['name']}\nVersion: 1.0\n")
    points = "".join(
        f"[{group}]\n{names.strip()}\n" for group, names in config["options.entry_points"].items()
    )
    (metadata / "entry_points.txt").write_text(points)
    return site


@pytest.fixture
def start(site: Path, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a broker with a configuration, and returns the URLs it tells."""
    running: list[subprocess.Popen[str]] = []

    def start_one(config: str) -> list[str]:
        file = tmp_path / f"{len(running)}.toml"
        file.write_text(config)
        process = subprocess.Popen(
            [*COMMAND, "--config", str(file), "--store", "memory:"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}"},
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return re.findall(r"(\w+://[^\s,]+)", read_line(process.stdout))

    yield start_one
    for process in running:
        process.kill()
        process.communicate()


def test_the_example_carries_messages_both_ways(start: Start, tmp_path: Path) -> None:
    """The configurations of the guide, but for the addresses."""
    write_users(tmp_path, clerk="")
    known = {"login": "clerk", "passcode": PASSCODE}
    ship, shore = blocks("toml")
    plain, zipped = start(shore.replace("0.0.0.0", "127.0.0.1").replace("7000", "0"))
    assert zipped.startswith("zlib://")
    (mine,) = start(ship.replace("zlib://shore.example:7000", zipped))
    with Client(port_of(mine)) as sailor, Client(port_of(plain), **known) as clerk:
        subscribe(clerk, "/queue/cargo")
        put(sailor, "/peer/shore/queue/cargo", b"tea", b"x" * 1_000_000)
        assert bodies(take(clerk, 2)) == [b"tea", b"x" * 1_000_000]
        subscribe(sailor, "/queue/orders")
        put(clerk, "/peer/ship/queue/orders", b"come home")
        assert bodies(take(sailor, 1)) == [b"come home"]


def test_an_unknown_transport_is_refused_with_those_there_are(tmp_path: Path) -> None:
    config = tmp_path / "hoof.toml"
    config.write_text('name = "a"\n[peer.b]\nurl = "pigeon://b"\npasscode = "s"\n')
    command = [*COMMAND, "--config", str(config), "--store", "memory:"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "unknown transport 'pigeon'; there are: http, https, stomp, stomp+ssl" in done.stderr


def test_an_unknown_protocol_is_refused_with_those_there_are(tmp_path: Path) -> None:
    config = tmp_path / "hoof.toml"
    config.write_text('[[listener]]\nport = 0\nprotocol = "pigeon"\n')
    command = [*COMMAND, "--config", str(config), "--store", "memory:"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "unknown protocol 'pigeon'; there are: http, and stomp" in done.stderr


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])
