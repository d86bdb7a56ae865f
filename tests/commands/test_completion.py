"""What TAB offers, as the shell asks for it (argcomplete's protocol), and that a shell takes our code."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.commands.conftest import HOOFBEAT, Shell
from tests.processes import PATIENCE

pytestmark = pytest.mark.usefixtures("worker")

#: Standard output is what users see; what is offered goes to descriptor 8.
ASK = "import os, sys; os.dup2(1, 8); os.dup2(2, 9); os.execv(sys.argv[1], sys.argv[1:])"


def offered(shell: Shell, line: str) -> list[str]:
    """Return what a shell offers at the end of a line."""
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line.encode())),
        "COMP_TYPE": "9",
    }
    ended = subprocess.run(
        [sys.executable, "-c", ASK, HOOFBEAT],
        env=shell.environment | asked,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return ended.stdout.split()


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("hoofbeat ", {"run", "settings", "bench", "call", "services", "describe", "worker"}),
        ("hoofbeat c", {"call", "completion"}),
        ("hoofbeat call ", {"demo.", "broker."}),
        ("hoofbeat call de", {"demo.whee", "demo.add", "demo/math.mul"}),
        ("hoofbeat call demo.a", {"demo.add"}),
        ("hoofbeat call demo/m", {"demo/math.mul"}),
        ("hoofbeat call demo.add ", {"a=", "b="}),
        ("hoofbeat call demo.add a=1 ", {"b="}),
        ("hoofbeat call --st", {"--stream"}),
        ("hoofbeat describe d", {"demo"}),
        ("hoofbeat describe demo ", {"whee", "add", "math.mul"}),
        ("hoofbeat run --da", {"--data"}),
        ("hoofbeat completion z", {"zsh"}),
    ],
)
def test_what_is_offered(shell: Shell, line: str, some: set[str]) -> None:
    assert some <= set(offered(shell, line))


@pytest.mark.parametrize(
    "line",
    [
        "hoofbeat call nobody.",
        "hoofbeat call demo.nope ",
        "hoofbeat call --url stomp://127.0.0.1:1 demo.",
        "hoofbeat call --url http://x demo.",
        "hoofbeat services ",
    ],
)
def test_where_nothing_is_known_nothing_is_offered(shell: Shell, line: str) -> None:
    assert offered(shell, line) == []


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_what_a_shell_must_know(shell: Shell, name: str) -> None:
    status, out, errors = shell("completion", name)
    assert (status, errors) == (0, "")
    assert "hoofbeat" in out


def test_bash_takes_it(shell: Shell) -> None:
    code = f'eval "$({HOOFBEAT} completion bash)"; complete -p hoofbeat'
    ended = subprocess.run(
        ["bash", "-c", code], env=os.environ | shell.environment, capture_output=True, text=True
    )
    assert ended.stdout.endswith("_python_argcomplete hoofbeat\n")
