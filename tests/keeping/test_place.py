"""Which store the commands mean: that of the broker, or of one of its virtual hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.conftest import Shell
from tests.keeping.conftest import filled

CONFIG = """
data = "data"
[virtual_host.shop]
[virtual_host.bank]
store = "sqlite:bank.db"
[virtual_host.quick]
store = "memory:"
"""
SHOP = ("--config", "hoof.toml", "--virtual-host", "shop")
BANK = ("--config", "hoof.toml", "--virtual-host", "bank")


@pytest.fixture
def shop(tmp_path: Path) -> None:
    """Make the store of a virtual host that does not say where it is, and the configuration."""
    (tmp_path / "hoof.toml").write_text(CONFIG)
    filled("lmdb:data/virtual_hosts/shop", tmp_path, (1, 4, 1, b"meta", b"tail"))


@pytest.mark.usefixtures("shop")
def test_all_commands_know_virtual_hosts(shell: Shell) -> None:
    copied = shell("backup", *SHOP, "copy")
    assert (copied.status, copied.out) == (0, "lmdb:copy has 1 queues, 1 records\n")
    looked = shell("check", *SHOP)  # the record makes no sense, but is seen
    assert looked.out.startswith("looking at lmdb:data/virtual_hosts/shop\n")
    assert shell("compact", *SHOP).status == 0
    assert shell("export", *SHOP, "lines").status == 0
    moved = shell("import", *BANK, "lines")
    assert (moved.status, moved.out) == (0, "sqlite:bank.db has 1 queues, 1 records\n")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ("--config", "hoof.toml", "--virtual-host", "shp"),
            "there is no [virtual_host.shp]; there are: shop, bank, quick",
        ),
        (
            ("--virtual-host", "shop"),
            "there is no [virtual_host.shop]; there are: none; --config names the file that has them",
        ),
        (
            ("--config", "hoof.toml", "--virtual-host", "quick"),
            "what is stored in memory: is in its broker only, and ends with it",
        ),
    ],
)
@pytest.mark.usefixtures("shop")
def test_hosts_that_cannot_be_looked_at(shell: Shell, words: tuple[str, ...], error: str) -> None:
    result = shell("check", *words)
    assert result.status == 2
    assert error in result.errors
