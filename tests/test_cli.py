"""The commands as an operator meets them: real processes, exit statuses, and what they print.

What cannot start says why in one line on standard error and ends with status 2. Nothing here sleeps.
"""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from broker import __version__
from broker.cli import main
from broker.options import FIELDS, Options, read_options
from tests.harness import DEADLINE, BrokerProcess, Client, read_line

MODULE = (sys.executable, "-m", "broker")
SCRIPT = (str(Path(sys.executable).with_name("hoofbeat")),)
READY = re.compile(
    rf"hoofbeat {re.escape(__version__)} ready on stomp://127\.0\.0\.1:(\d+), store .+\n"
)

BEST_OF = 3
START_UP = 0.5  # seconds to the first CONNECTED
IDLE = 45_000_000  # bytes of memory


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a process in a directory of the test's own."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


Run = Callable[..., subprocess.Popen[str]]


def ready(process: subprocess.Popen[str]) -> int:
    """Wait until a broker is ready; return its port."""
    line = read_line(process.stdout)
    found = READY.fullmatch(line)
    assert found, line
    return int(found[1])


def refused(process: subprocess.Popen[str]) -> str:
    """Return the one line that a broker says which cannot start."""
    out, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 2
    assert out == ""
    assert errors.count("\n") == 1
    assert errors.startswith("hoofbeat")
    return errors


# --- what cannot start ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["run", "--port", "many"], "'many'"),
        (["run", "--port", "70000"], "at most 65535"),
        (["run", "--port", "-1"], "must not be negative"),
        (["run", "--port"], "expected one argument"),
        (["run", "--data", ""], "data must not be empty"),
        (["run", "--host", ""], "host must not be empty"),
        (["run", "--prot", "1"], "--prot"),
        (["run", "now"], "now"),
        (["walk"], "'walk'"),
        ([], "COMMAND"),
        (["run", "--config", "missing.toml"], "missing.toml: "),
        (["run", "--config", "unknown.toml"], "unknown.toml: unknown setting 'speed'"),
        (["run", "--config", "type.toml"], "type.toml: port must be a whole number"),
        (["run", "--config", "section.toml"], 'section.toml: [destination."a.>"]: unknown setting'),
        (["run", "--dialect", "jms"], "dialect must be one of activemq, rabbitmq, strict"),
        (["run", "--config", "syntax.toml"], "syntax.toml: "),
        (["run", "--config", "binary.toml"], "cannot read binary.toml: "),
        (["run", "--config", "."], "cannot read .: "),
        (["run", "--port", "0", "--store", "mysql:x"], "unknown store 'mysql:x'"),
        (["run", "--port", "0", "--data", "unknown.toml/data"], "Not a directory"),
        (["run", "--port", "0", "--data", "unknown.toml"], "File exists"),
        (["run", "--port", "0", "--store", "sqlite:unknown.toml"], "not a database"),
    ],
)
def test_what_is_wrong_with_a_command_line(
    arguments: Sequence[str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """One line, status 2, in this process: none of these comes as far as the reactor."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unknown.toml").write_text("speed = 1\n")
    (tmp_path / "type.toml").write_text('port = "61613"\n')
    (tmp_path / "section.toml").write_text('[destination."a.>"]\nspeed = 1\n')
    (tmp_path / "syntax.toml").write_text("port 61613\n")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    monkeypatch.setattr("broker.service.tune_process", lambda: None)
    try:
        status = main(arguments)
    except SystemExit as end:
        status = int(str(end.code))
    out, errors = capfd.readouterr()
    assert status == 2
    assert out == ""
    assert errors.count("\n") == 1
    assert errors.startswith("hoofbeat")
    assert reason in errors


def test_a_port_that_is_taken(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        line = refused(run(*MODULE, "run", "--port", str(port)))
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in line


def test_a_data_directory_that_another_broker_uses(run: Run) -> None:
    port = ready(run(*MODULE, "run", "--port", "0"))
    line = refused(run(*MODULE, "run", "--port", "0"))
    assert "in use by another broker" in line
    with Client(port) as client:
        assert client.connected.command == "CONNECTED"


def test_data_of_a_format_that_is_not_known(run: Run, tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "later.db")
    db.executescript(
        "CREATE TABLE meta (name TEXT, value TEXT); INSERT INTO meta VALUES ('format', '7');"
    )
    db.close()
    line = refused(run(*MODULE, "run", "--port", "0", "--store", "sqlite:later.db"))
    assert "holds data of format 7; this version reads format 1" in line


def test_a_place_where_nothing_can_be_written(run: Run, tmp_path: Path) -> None:
    """Below a file, for root may write everywhere else."""
    (tmp_path / "file").touch()
    line = refused(run(*MODULE, "run", "--port", "0", "--data", "file/data"))
    assert "cannot make the data directory file/data" in line


# --- start and stop -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [MODULE, SCRIPT], ids=["python -m broker", "hoofbeat"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(run: Run, command: Sequence[str], number: int) -> None:
    """With a client that is connected."""
    process = run(*command, "run", "--port", "0", "--store", "memory:")
    port = ready(process)
    client = Client(port)
    process.send_signal(number)
    client.expect_closed()
    client.close()
    out, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in errors


def test_it_can_be_stopped_as_soon_as_it_is_ready(run: Run) -> None:
    process = run(*MODULE, "run", "--port", "0", "--store", "memory:")
    ready(process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 0


def test_it_is_ready_when_it_accepts_and_uses_the_port_it_says(run: Run) -> None:
    process = run(*MODULE, "run", "--port", "0")
    with Client(ready(process)) as client:
        assert client.connected.headers["server"].startswith("ActiveMQ/")
    other = run(*MODULE, "run", "--port", "0", "--data", "other")
    assert ready(other)


def test_flags_win_over_the_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "hoof.toml").write_text('port = 1\nstore = "memory:"\nserver_header = "mine"\n')
    process = run(*MODULE, "run", "--config", "hoof.toml", "--port", "0")
    with Client(ready(process)) as client:
        assert client.connected.headers["server"] == "mine"
    assert not (tmp_path / "data").exists()


def test_a_file_is_utf_8_whatever_the_locale(run: Run, tmp_path: Path) -> None:
    (tmp_path / "hoof.toml").write_text('server_header = "größer"\n', encoding="utf-8")
    locale = ("env", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0", "LC_ALL=C")
    flags = ("--port", "0", "--store", "memory:", "--config", "hoof.toml")
    with Client(ready(run(*locale, *MODULE, "run", *flags))) as client:
        assert client.connected.headers["server"] == "größer"


def test_without_a_flag_the_data_lies_in_the_directory_data(run: Run, tmp_path: Path) -> None:
    ready(run(*MODULE, "run", "--port", "0"))
    assert (tmp_path / "data" / "data.mdb").exists()


def test_ipv6(run: Run) -> None:
    if not socket.has_ipv6:
        return
    process = run(*MODULE, "run", "--host", "::1", "--port", "0", "--store", "memory:")
    line = read_line(process.stdout)
    found = re.search(r"ready on stomp://\[::1\]:(\d+)", line)
    assert found, line
    with socket.create_connection(("::1", int(found[1])), DEADLINE):
        pass


@pytest.mark.parametrize("reactor", ["default", "hoofbeat"])
def test_twist_runs_it_too(run: Run, reactor: str) -> None:
    """The same settings under Twisted's own runner, with any of its reactors or with ours."""
    twist = str(Path(sys.executable).with_name("twist"))
    runs = (twist, "--log-format", "text", "--reactor", reactor)
    process = run(*runs, "hoofbeat", "--port", "0", "--store", "memory:")
    assert process.stdout is not None
    line = next(line for line in process.stdout if "ready on stomp://" in line)
    found = re.search(r"stomp://127\.0\.0\.1:(\d+)", line)
    assert found, line
    with Client(int(found[1])) as client:
        client.send("SUBSCRIBE", id_="1", destination="/queue/a")
        client.send("SEND", b"hello", destination="/queue/a")
        assert client.expect("MESSAGE").body == b"hello"
        client.send("SEND", b"bye", destination="/queue/a")
        client.socket.shutdown(socket.SHUT_WR)  # it still hears
        assert client.expect("MESSAGE").body == b"bye"
        client.expect_closed()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=DEADLINE)
    assert process.returncode == -signal.SIGTERM  # twist passes it on when all has ended


def test_twist_takes_clients_at_every_address(run: Run, tmp_path: Path) -> None:
    (tmp_path / "hoof.toml").write_text('[[listener]]\nport = 0\ndialect = "rabbitmq"\n')
    twist = str(Path(sys.executable).with_name("twist"))
    flags = ("--port", "0", "--store", "memory:", "--dialect", "strict", "--config", "hoof.toml")
    process = run(twist, "--log-format", "text", "hoofbeat", *flags)
    assert process.stdout is not None
    line = next(line for line in process.stdout if "ready on stomp://" in line)
    servers = []
    for port in re.findall(r"stomp://127\.0\.0\.1:(\d+)", line):
        with Client(int(port)) as client:
            servers.append(client.connected.headers["server"].partition("/")[0])
    assert servers == ["hoofbeat", "RabbitMQ"]


def test_twist_says_what_is_wrong(run: Run) -> None:
    twist = str(Path(sys.executable).with_name("twist"))
    process = run(twist, "hoofbeat", "--port", "0", "--store", "mysql:x")
    out, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 2
    assert errors.startswith("hoofbeat: unknown store 'mysql:x'")
    assert (out, errors.count("\n")) == ("", 1)


# --- small and quick ------------------------------------------------------------------------------


def test_it_starts_quickly_and_is_small(tmp_path: Path) -> None:
    """Measured to the first CONNECTED; the best of a few, because others use the machine as well.

    Where even that is slow, compare with what Python and Twisted take alone, which is most of it.
    """
    times, sizes, bare = [], [], []
    for number in range(BEST_OF):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "import twisted.internet.reactor"], check=True)
        bare.append(time.monotonic() - began)
        began = time.monotonic()
        broker = BrokerProcess(f"lmdb:{tmp_path / str(number)}", tmp_path, {})
        with broker.connect():
            times.append(time.monotonic() - began)
            sizes.append(broker.memory("VmRSS"))
        assert broker.stop() == 0
    assert min(times) < max(START_UP, 2.5 * min(bare)), (times, bare)
    assert min(sizes) < IDLE, sizes


# --- other commands -------------------------------------------------------------------------------


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"hoofbeat {__version__}\n"


def test_help_tells_the_flags_with_their_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["run", "--help"])
    assert end.value.code == 0
    words = " ".join(capsys.readouterr().out.split())
    for name in ("host", "port", "dialect", "data", "store"):
        assert f"--{name}" in words
        assert FIELDS[name].metadata["reason"] in words
    assert "--config" in words


def test_settings_prints_a_file_that_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    assert read_options(capsys.readouterr().out, "printed") == Options()
