"""`hoofbeat call`, `services` and `describe`, each option once: what is printed, and the exit status."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator

import pytest

from broker.stomp import Frame, Parser
from tests.commands.conftest import HOOFBEAT, Command, Shell, wait_until
from tests.harness import Client
from tests.processes import PATIENCE
from tests.scenarios.steps import subscribe

pytestmark = pytest.mark.usefixtures("worker")


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["demo.whee", "Hello"], '{"Whee":"Hello"}\n'),
        (["demo.whee", '["Hello"]'], '{"Whee":"Hello"}\n'),
        (["demo.add", "1", "2"], "3\n"),
        (["demo.add", "a=1", "b=2"], "3\n"),
        (["demo.add", "--timeout", "5", "a=1", "--codec=msgpack", "b=2"], "3\n"),
        (["demo.add", '{"a": 1}'], "2\n"),
        (["demo.add", "-1", "-2"], "-3\n"),
        (["demo.whee", "--", "--raw"], '{"Whee":"--raw"}\n'),
        (["demo.echo", "timeout=5", "method=x"], '{"timeout":5,"method":"x"}\n'),
        (["demo/math.mul", "3", "4"], "12\n"),
        (["demo.rpc.ping"], '"pong"\n'),
        (["demo.text"], '"größer"\n'),
        (["demo.text", "--raw"], "größer\n"),
        (["demo.add", "1", "--raw"], "2\n"),
        (["demo.data", "--codec", "msgpack"], '"AP8="\n'),
        (["demo.header", "tenant", "--header", "tenant=a=b", "--header=x=1"], '"a=b"\n'),
        (["demo.count", "2"], '["item 0","item 1"]\n'),
        (["demo.count", "2", "--stream"], '"item 0"\n"item 1"\n'),
        (["demo.count", "2", "--stream", "--raw"], "item 0\nitem 1\n"),
        (["demo.add", "1", "--stream"], "2\n"),
        (["demo.add", "1", "--timeout", "none"], "2\n"),
    ],
)
def test_a_result(shell: Shell, words: list[str], out: str) -> None:
    assert shell("call", *words) == (0, out, "")


def test_arguments_from_standard_input(shell: Shell) -> None:
    assert shell("call", "demo.add", "-", given='{"a": 5}') == (0, "6\n", "")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["demo.fails"], r"RemoteError: KeyError: 'two\nlines'"),
        (["demo.nope"], "MethodNotFound: There is no remote function 'nope'"),
        (["demo.add", "x"], "InvalidParams: add(a: int, b: int = 1) -> int: argument 'a': "),
        (["nobody.whee", "--all"], "ServiceUnavailable: No worker serves 'nobody'"),
        (["nobody.whee"], "ServiceUnavailable: No worker serves 'nobody'"),
        (["demo.slow", "1", "--timeout", "0.1"], "Timeout: No reply to 'slow' within 0.1 s"),
        (["nobody.x", "--wait", "--timeout", "0.2"], "Timeout: No reply to 'x' within 0.2 s"),
        (["demo.add", "--stream", "x"], "InvalidParams: "),
        (
            ["nobody.x", "--all", "--wait", "--timeout", "0.2"],
            "ServiceUnavailable: no worker answered within 0.2 s",
        ),
        (
            ["demo.add", "1", "--url", "stomp://127.0.0.1:1"],
            "ConnectionLost: No connection to 127.0",
        ),
    ],
)
def test_an_error(shell: Shell, words: list[str], line: str) -> None:
    """One line with its name, and status 1."""
    status, out, errors = shell("call", *words)
    assert errors.startswith(f"hoofbeat: {line}")
    assert (status, out, errors.count("\n")) == (1, "", 1)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["call"], "SERVICE.METHOD"),
        (["call", "demo"], "names no method"),
        (["call", "demo.add", "{a}"], "no JSON"),
        (["call", "demo.add", "a=1", "2"], "not both"),
        (["call", "de mo.add"], "A service's name"),
        (["call", "demo.add", "--timeout", "-1"], "not a positive number"),
        (["call", "demo.add", "--codec", "pickle"], "invalid choice"),
        (["call", "demo.add", "--header", "x"], "a header is NAME=VALUE"),
        (["call", "demo.add", "--header", "expires=1"], "The header expires is the call's own"),
        (["call", "demo.add", "--notify", "--stream"], "not allowed with"),
        (["call", "demo.add", "--all", "--raw"], "--raw has no meaning with --all"),
        (["call", "demo.add", "--all", "--timeout", "none"], "nobody knows when all have answered"),
        (["call", "demo.add", "--url", "http://x"], "the scheme is 'http'"),
        (["call", "demo.add", "9" * 30, "--codec", "msgpack"], "cannot be sent"),
        (["services", "--url", "http://x"], "the scheme is 'http'"),
        (["services", "demo"], "unrecognized"),
        (["describe"], "SERVICE"),
        (["describe", "a/b"], "A service's name"),
        (["completion", "csh"], "invalid choice"),
    ],
)
def test_what_is_wrong_with_a_command_line(shell: Shell, words: list[str], reason: str) -> None:
    status, out, errors = shell(*words)
    assert (status, out, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("hoofbeat")
    assert reason in errors


def test_bytes_as_they_are(shell: Shell) -> None:
    ended = subprocess.run(
        [HOOFBEAT, "call", "demo.data", "--codec", "msgpack", "--raw"],
        env=shell.environment,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert ended.stdout == b"\x00\xff"


def test_a_terminal_gets_it_pretty_and_tables(shell: Shell) -> None:
    assert on_terminal(shell, "call", "demo.whee", "1") == '{\r\n  "Whee": 1\r\n}\r\n'
    assert "│ broker" in on_terminal(shell, "services")


def on_terminal(shell: Shell, *words: str) -> str:
    """Return what a command prints on a terminal."""
    terminal, its_side = pty.openpty()
    process = subprocess.Popen([HOOFBEAT, *words], env=shell.environment, stdout=its_side)
    os.close(its_side)
    said = b""
    try:
        while data := os.read(terminal, 4096):
            said += data
    except OSError:  # EIO: nobody has the other side any more
        pass
    os.close(terminal)
    assert process.wait(PATIENCE) == 0
    return said.decode()


def test_a_notification(shell: Shell, worker: Command) -> None:
    assert shell("call", "--notify", "demo.slow", "0") == (0, "", "")
    worker.wait_for_line("slow began")


def test_a_call_waits_for_a_worker(shell: Shell) -> None:
    service = f"late-{uuid.uuid4().hex}"
    with shell.start("call", f"{service}.total", "1", "2", "--wait") as caller:
        wait_until(lambda: service in shell("services").out)
        with Command(shell, "worker", "app:total", "--service", service):
            out, errors = caller.communicate(timeout=PATIENCE)
    assert (caller.returncode, out, errors) == (0, "3.0\n", "")


def test_every_worker_answers(shell: Shell) -> None:
    with Command(shell, "worker", "app:total", "--service", "all", "--name", "second") as second:
        second.wait_for_line("ready")
        with Command(shell, "worker", "app:Cart", "--service", "all", "--name", "first") as first:
            first.wait_for_line("ready")
            status, out, errors = shell("call", "--all", "all.rpc.ping")
            assert (status, errors) == (0, "")
            answers = sorted(map(json.loads, out.splitlines()), key=lambda each: each["worker"])
            assert answers == [
                {"worker": "first", "result": "pong"},
                {"worker": "second", "result": "pong"},
            ]
            status, out, errors = shell("call", "--all", "all.size")
            assert status == 1
            assert (
                errors == "hoofbeat: second: MethodNotFound: There is no remote function 'size'\n"
            )
            found = {each["worker"]: each for each in map(json.loads, out.splitlines())}
            assert found["first"]["result"] == 3
            assert found["second"]["error"]["code"] == -32601
            said = shell("describe", "all")
            assert said.status == 0
            assert "2 workers: " in said.out
            assert "size()\n    only at: first\n" in said.out


# --- ended early ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_a_stream(shell: Shell, worker: Command, number: int, status: int) -> None:
    """The worker hears that nobody wants more."""
    with shell.start("call", "--stream", "demo.count", "1000000000") as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == '"item 0"\n'
        caller.send_signal(number)
        caller.communicate(timeout=PATIENCE)
    assert caller.returncode == status
    worker.wait_for_line("count ended")


def test_a_closed_pipe_cancels_a_stream(shell: Shell, worker: Command) -> None:
    """As with `| head -1`."""
    with shell.start("call", "--stream", "demo.count", "1000000000") as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == '"item 0"\n'
        caller.stdout.close()
        assert caller.stderr is not None
        assert caller.stderr.read() == ""
        assert caller.wait(PATIENCE) == 141
    worker.wait_for_line("count ended")


def test_ctrl_c_ends_a_call(shell: Shell, worker: Command) -> None:
    with shell.start("call", "demo.slow", "0.5") as caller:
        worker.wait_for_line("slow began")
        caller.send_signal(signal.SIGINT)
        out, errors = caller.communicate(timeout=PATIENCE)
    assert (caller.returncode, out, errors) == (130, "", "")


# --- services and describe ------------------------------------------------------------------------


def test_services(shell: Shell) -> None:
    status, out, errors = shell("services")
    assert (status, errors) == (0, "")
    head, *lines = out.splitlines()
    assert head.split() == ["name", "workers", "waiting", "in_flight", "enqueued"]
    found = {line.split()[0]: line.split()[1:] for line in lines}
    assert found["broker"][0] == "1"
    assert found["demo"][:2] == ["1", "0"]
    listed = json.loads(shell("services", "--json").out)
    assert {each["name"] for each in listed} >= {"broker", "demo"}


def test_describe_a_service(shell: Shell) -> None:
    status, out, errors = shell("describe", "demo")
    assert (status, errors) == (0, "")
    assert out.startswith("demo: for the command line\n1 worker: ")
    assert "\nadd(a: int, b: int = 1) -> int\n    Add two numbers.\n    idempotent\n\n" in out
    assert "\ncount(n: int)\n    streams\n" in out
    [answer] = json.loads(shell("describe", "demo", "--json").out)
    assert answer["service"] == "demo"


def test_describe_a_method(shell: Shell) -> None:
    assert shell("describe", "demo", "add") == (
        0,
        "add(a: int, b: int = 1) -> int\n"
        "    Add two numbers.\n\n    Both are whole.\n"
        "    idempotent\n"
        '    a: {"type": "integer"}\n    b: {"type": "integer"}\n    returns: {"type": "integer"}\n',
        "",
    )
    [method] = json.loads(shell("describe", "demo", "add", "--json").out)
    assert method["params"]["a"] == {"type": "integer"}


def test_what_cannot_be_described(shell: Shell) -> None:
    status, out, errors = shell("describe", "demo", "nope")
    assert (status, out) == (1, "")
    assert errors.startswith("hoofbeat: MethodNotFound: demo has no 'nope'; there are: add, ")
    assert shell("describe", "nobody", "--timeout", "0.2") == (
        1,
        "",
        "hoofbeat: ServiceUnavailable: No worker serves 'nobody'\n",
    )


def test_a_worker_that_takes_from_the_queue_only(shell: Shell) -> None:
    """As one of another language may, which knows no topic of its service."""
    described = {"service": "small", "worker": "me", "doc": "", "methods": [{"name": "a"}]}
    with Client(int(shell.url.rpartition(":")[2])) as worker:
        subscribe(worker, "/queue/rpc.small")
        with shell.start("describe", "small", "--timeout", "5") as asker:
            request = worker.expect("MESSAGE")
            call = json.loads(request.body)
            assert call["method"] == "rpc.describe"
            reply = {"jsonrpc": "2.0", "id": call["id"], "result": described}
            worker.send(
                "SEND",
                json.dumps(reply).encode(),
                destination=request.headers["reply-to"],
                correlation_id=request.headers["correlation-id"],
            )
            out, errors = asker.communicate(timeout=PATIENCE)
    assert (asker.returncode, out, errors) == (0, "small\n1 worker: me\n\na\n", "")


@pytest.fixture
def plain_broker() -> Iterator[str]:
    """Return the URL of a STOMP broker that is not hoofbeat: it takes everything, and answers no calls."""

    def serve(link: socket.socket) -> None:
        parser = Parser()
        while data := link.recv(65536):
            for frame in parser.feed(data):
                if frame.command == "CONNECT":
                    link.sendall(Frame("CONNECTED", {"version": "1.2"}).encode("1.2"))
                    parser.version = "1.2"
                elif receipt := frame.headers.get("receipt"):
                    link.sendall(Frame("RECEIPT", {"receipt-id": receipt}).encode("1.2"))

    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            link, _ = server.accept()
            with link:
                serve(link)

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"stomp://127.0.0.1:{server.getsockname()[1]}"
        thread.join(PATIENCE)


def test_a_broker_that_cannot_list_services(shell: Shell, plain_broker: str) -> None:
    status, out, errors = shell("services", "--timeout", "0.3", "--url", plain_broker)
    assert (status, out, errors.count("\n")) == (1, "", 1)
    assert errors.startswith(
        "hoofbeat: Timeout: the broker answers no calls itself, as hoofbeat does"
    )
