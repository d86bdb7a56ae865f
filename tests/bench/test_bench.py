"""`hoofbeat bench` as a user meets it: real processes, exit statuses, files, and nothing left behind."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.bench import rows
from broker.bench.cli import main
from tests.bench.erring import FAULTS, ErringBroker
from tests.harness import DEADLINE, BrokerProcess, read_line

COMMAND = (sys.executable, "-m", "broker", "bench")
SHORT = ("--rows", "plain", "--no-ceiling", "--seconds", "0.2")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
QUICK_SECONDS = 30.0  # it takes less than ten of a machine that has nothing else to do

Bench = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Return a function that starts the benchmark; afterwards no process and no file of it may be left."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        # A signal that we ignore (as whoever runs in the background does) our children would ignore too.
        ours = [signal.signal(number, signal.default_int_handler) for number in SIGNALS]
        try:
            process = subprocess.Popen(
                [*COMMAND, *arguments],
                cwd=tmp_path,
                env=os.environ
                | {"TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        finally:
            for number, handler in zip(SIGNALS, ours, strict=True):
                signal.signal(number, handler)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    left = [name for pid, name in processes(temporary) if not ends(pid)]
    assert left == []
    assert list(temporary.iterdir()) == []


def processes(temporary: Path) -> list[tuple[int, str]]:
    """Return every process that was started with this directory for its files, and its command line."""
    mark = f"TMPDIR={temporary}\0".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                found.append((int(process.name), (process / "cmdline").read_text()))
        except OSError:  # another user's, or gone meanwhile
            continue
    return found


def ends(pid: int) -> bool:
    """Wait for the end of a process that is not our child; kill it if it does not come."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if select.select([descriptor], [], [], DEADLINE)[0]:
            return True
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        return False
    finally:
        os.close(descriptor)


def finished(
    process: subprocess.Popen[str], patience: float = 2 * DEADLINE
) -> tuple[int, list[str], list[str]]:
    """Wait for the end; return the status and the lines on both outputs."""
    out, errors = process.communicate(timeout=patience)
    assert "Traceback" not in errors
    return process.returncode, out.splitlines(), errors.splitlines()


# --- measuring ------------------------------------------------------------------------------------


def test_the_quick_run_gives_a_table_and_figures(bench: Bench, tmp_path: Path) -> None:
    """Every row of it, with its share of the ceiling, in a few seconds."""
    began = time.monotonic()
    status, out, errors = finished(bench("--quick", "--json", "found.json", "--plot", "found.png"))
    assert (errors, status) == ([], 0)
    assert time.monotonic() - began < QUICK_SECONDS
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found) == {"format", "when", "machine", "settings", "targets", "rows"}
    assert [(each["name"], each["copies"]) for each in found["targets"]] == [
        ("copying", True),
        ("hoofbeat", False),
    ]
    assert [row["name"] for row in found["rows"]] == list(rows.QUICK)
    table = "\n".join(out)
    for row in found["rows"]:
        figure = row["figures"]["hoofbeat"]
        assert row["title"] in table
        assert f"{figure['rate']:,.0f}" in table
        assert figure["operations"] > 0
        assert figure["cpu_seconds"]["generator"] > 0
        if "copying" in row["figures"]:
            assert figure["share"] == pytest.approx(
                figure["rate"] / row["figures"]["copying"]["rate"]
            )
            assert f"{figure['share']:.2f}" in table
        else:
            assert figure["share"] is None
    assert [line.partition(" ")[0] for line in out[:7]] == [f"{step}/7" for step in range(1, 8)]
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")


def test_brokers_are_measured_side_by_side(
    bench: Bench, broker: BrokerProcess, tmp_path: Path
) -> None:
    """Each under its name, or its address; a passcode in a URL is not shown."""
    other = f"stomp://me:secret@127.0.0.1:{broker.port}"
    shown = f"stomp://127.0.0.1:{broker.port}"
    process = bench(
        *SHORT, "--url", "fresh", "--url", f"mine={broker.url}", "--url", other, "--json", "j"
    )
    status, out, errors = finished(process)
    assert (errors, status) == ([], 0)
    text = (tmp_path / "j").read_text()
    found = json.loads(text)
    assert [target["name"] for target in found["targets"]] == ["hoofbeat", "mine", shown]
    assert [target["url"] for target in found["targets"]][1:] == [shown, shown]
    assert list(found["rows"][0]["figures"]) == ["hoofbeat", "mine", shown]
    assert "secret" not in text + "".join(out)


#: The last row of each kind, hence the one that asks for most.
ONE_OF_EACH = {row.kind: row.name for row in rows.ROWS}.values()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "names", [",".join(ONE_OF_EACH), pytest.param("all", marks=pytest.mark.long)]
)
def test_every_row_gives_a_figure(names: str, bench: Bench, tmp_path: Path) -> None:
    """In too little time to mean anything."""
    few = ("--seconds", "0.1", "--backlog", "3000", "--connections", "50")
    process = bench("--rows", names, "--no-ceiling", "--json", "found.json", *few)
    status, _, errors = finished(process, 8 * DEADLINE)
    assert (errors, status) == ([], 0)
    found = json.loads((tmp_path / "found.json").read_text())["rows"]
    figures = {row["name"]: row["figures"]["hoofbeat"] for row in found}
    chosen = rows.ROWS if names == "all" else rows.select([*ONE_OF_EACH])
    assert list(figures) == [name for row in chosen for name, _ in row.results()]
    assert figures["held"]["operations"] == 50
    assert "kB RSS each" in figures["held"]["note"]
    assert figures["backlog-fill"]["operations"] == figures["backlog-drain"]["operations"] == 3000
    assert figures["link"]["operations"] == 3000
    assert figures["fill"]["operations"] > 0


# --- failing --------------------------------------------------------------------------------------


def test_a_broker_that_loses_a_message_has_no_figure(bench: Bench, tmp_path: Path) -> None:
    """The row is a failure in the table and in the file, and the exit status says so."""
    with ErringBroker(FAULTS["lost"], "") as erring:
        url = f"erring=stomp://127.0.0.1:{erring.port}"
        status, out, errors = finished(bench(*SHORT, "--url", url, "--json", "found.json"))
    assert status == 1
    [line] = errors
    assert line.startswith("FAILED: plain, erring: messages: number 10 came, 9 was due: 1 lost")
    assert any("erring: FAILED, messages: number 10 came" in line for line in out)
    [row] = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert set(row["figures"]["erring"]) == {"failure", "rounds"}
    assert row["figures"]["erring"]["failure"] in line


def test_a_broker_that_dies_meanwhile_is_a_failure(bench: Bench, broker: BrokerProcess) -> None:
    """And what is measured after it still gets its figure."""
    urls = ("--url", f"mine={broker.url}", "--url", "fresh")
    process = bench("--rows", "plain,topic", "--no-ceiling", "--seconds", "0.5", *urls)
    assert read_line(process.stdout).startswith("1/4 plain messages · mine")
    broker.kill()
    status, out, errors = finished(process)
    assert status == 1
    assert [line.partition(":")[0] for line in errors] == ["FAILED"]
    assert "topic, mine: " in errors[0]
    assert any("4/4 topic, 1 to 4 · hoofbeat" in line for line in out)


# --- Ctrl-C ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_it_and_all_it_has_started(bench: Bench, number: int, tmp_path: Path) -> None:
    """The broker, the ceiling and the load generator; the fixture looks for them."""
    process = bench(
        "--rows", "plain", "--seconds", "0.2", "--rounds", "500", "--json", "found.json"
    )
    assert read_line(process.stdout).startswith("1/1000 plain messages · copying")
    assert len(processes(tmp_path / "temporary")) >= 3
    process.send_signal(number)
    status, _, errors = finished(process)
    assert (status, errors) == (130, ["hoofbeat bench: interrupted"])
    assert not (tmp_path / "found.json").exists()


# --- what it says without measuring ---------------------------------------------------------------


def ended(*arguments: str) -> int:
    """Run it in this process; return the exit status."""
    try:
        return main(list(arguments))
    except SystemExit as end:
        return int(str(end.code))


def test_the_list_names_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [row.name for row in rows.ROWS]
    assert [line[16:] for line in lines] == [row.title for row in rows.ROWS]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--rows", "plain,nothing"), "there is no row 'nothing'; --list shows all"),
        (("--url", "nonsense"), "The broker's URL is not understood: there is no scheme."),
        (("--url", "http://localhost"), "the scheme is 'http'"),
        (("--url", "fresh", "--url", "fresh"), "two targets have the same name"),
        (("--url", "a=fresh", "--url", "a=stomp://localhost"), "two targets have the same name"),
        (("--read", "missing.json"), "missing.json"),
        (("--read", "other.json"), "other.json holds no figures of format 2"),
        (("--read", "broken.json"), "broken.json is no file of figures"),
        (("--json", "missing/found.json"), "No such file or directory: 'missing/found.json'"),
        (("--json", "."), "Is a directory: '.'"),
        (("--plot", "missing/found.png"), "No such file or directory: 'missing/found.png'"),
        (("--seconds", "0"), "0 is not a positive number"),
        (("--seconds", "nan"), "nan is not a positive number"),
        (("--seconds", "some"), "'some'"),
        (("--rounds", "0"), "0 is less than 1"),
        (("--connections", "-1"), "-1 is less than 1"),
        (("--speed", "9"), "--speed"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    arguments: tuple[str, ...],
    reason: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before anything is started."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.json").write_text('{"rows": []}')
    (tmp_path / "broken.json").write_text("rows")
    assert ended(*arguments) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    line = errors.splitlines()[-1]
    assert line.startswith("hoofbeat bench: ")
    assert reason in line


def test_a_broker_that_is_not_there_is_told_at_once(bench: Bench, broker: BrokerProcess) -> None:
    broker.stop()
    status, out, errors = finished(bench(*SHORT, "--url", f"mine={broker.url}"))
    assert (status, out) == (2, [])
    assert errors == [
        f"hoofbeat bench: mine cannot be used: 127.0.0.1:{broker.port}: Connection refused"
    ]


def run_of(**figures: dict[str, Any]) -> dict[str, Any]:
    """Return an earlier run with one row."""
    return {
        "format": 2,
        "machine": {"processor": "Z80", "cores": 1, "system": "CP/M 3", "python": "3.11.0"},
        "settings": {"seconds": 2.0, "rounds": 1},
        "targets": [{"name": name, "copies": False} for name in figures],
        "rows": [
            {
                "name": "plain",
                "title": "plain",
                "unit": "messages",
                "ceiling": True,
                "figures": figures,
            }
        ],
    }


FIGURE: dict[str, Any] = {
    "rate": 4321.0,
    "share": None,
    "latency_ms": None,
    "seconds": 2.0,
    "cpu_seconds": {"target": None, "generator": 0.5, "stolen": None},
    "note": "",
}


def test_earlier_figures_are_shown_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(run_of(mine=FIGURE)))
    assert ended("--read", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.svg")) == 0
    out, errors = capsys.readouterr()
    assert "4,321" in out
    assert errors == ""
    assert (tmp_path / "a.svg").exists()


def test_what_is_written_is_there_only_after_the_run(tmp_path: Path) -> None:
    """That it can be written is tried before, which changes no file that is there."""
    kept = tmp_path / "kept.json"
    kept.write_text("earlier")
    assert ended("--read", "missing", "--json", str(tmp_path / "new.json")) == 2
    assert ended("--read", "missing", "--json", str(kept)) == 2
    assert list(tmp_path.iterdir()) == [kept]
    assert kept.read_text() == "earlier"


def test_an_earlier_failure_is_still_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(run_of(mine={"failure": "1 lost"}, other=FIGURE)))
    assert ended("--read", str(tmp_path / "a.json")) == 1
    assert capsys.readouterr().err == "FAILED: plain, mine: 1 lost\n"


def test_a_picture_of_an_unknown_format_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(run_of(mine=FIGURE)))
    assert ended("--read", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.doc")) == 2
    assert "doc" in capsys.readouterr().err
