"""The steps of docs/operations.md, typed as they stand there, but for the directories' names."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.commands.conftest import HOOFBEAT, ROOT, Shell
from tests.harness import DEADLINE, Client
from tests.scenarios.steps import drain, put

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
CONFIG = 'port = 0\ndata = "{}/var/lib/hoofbeat"\n[virtual_host.shop]\n'


def steps(section: str) -> list[str]:
    """Return the blocks of commands in a section of the page, without those of `jq`."""
    [text] = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [re.sub(r"^jq .*\n", "", block, flags=re.MULTILINE) for block in blocks]


class Operator:
    """Types commands in a directory that stands for the root of all others."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("etc", "backup", "var/lib"):
            (directory / name).mkdir(parents=True)
        (directory / "etc" / "hoofbeat.toml").write_text(CONFIG.format(directory))

    def types(self, text: str) -> str:
        """Run commands to the end; each must succeed. Return what they print."""
        own = re.sub(r"(?<![\w.])/(etc|backup|var)/", rf"{self.directory}/\1/", text)
        path = f"{Path(HOOFBEAT).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-e", "-c", own],
            cwd=self.directory,
            env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE,
            check=False,
        )
        assert done.returncode == 0, (own, done.stdout, done.stderr)
        return done.stdout

    def connect(self, **headers: str) -> Client:
        """Return a client of the broker that runs."""
        said = self.types("hoofbeat status --config /etc/hoofbeat.toml")
        [port] = re.findall(r"stomp://127\.0\.0\.1:(\d+)", said)
        return Client(int(port), **headers)


def test_backup_restore_and_compact_as_written(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    backup, look, of_host, restore = steps("Backup and restore")
    [compact] = steps("Compacting")
    operator.types("hoofbeat start --config /etc/hoofbeat.toml")
    try:
        with operator.connect() as client:
            put(client, "/queue/a", b"before")
            operator.types(backup)
            put(client, "/queue/a", b"after")
        with operator.connect(host="shop") as client:
            put(client, "/queue/b", b"sold")
            assert " 1 records\n" in operator.types(of_host)
        assert "1 messages in queues\nwhole\n" in operator.types(look)
        operator.types(restore)
        operator.types(compact)
        with operator.connect() as client:
            assert drain(client, "/queue/a") == [b"before"]
    finally:
        operator.types("hoofbeat stop --config /etc/hoofbeat.toml")


def test_export_and_import_as_written(shell: Shell, full: str, tmp_path: Path) -> None:
    export, *_ = steps("Export and import")
    operator = Operator(tmp_path)
    lines = export.splitlines()
    assert len(lines) == 4
    operator.types("\n".join(lines[:3]))
    (tmp_path / "hoof.db").unlink()
    operator.types(lines[3])
    assert shell("check", "--store", "sqlite:hoof.db").status == 0
