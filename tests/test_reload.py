"""All is taken over, or nothing: who prepares, who objects, who commits."""

from __future__ import annotations

from collections.abc import Callable

from broker.options import Options, OptionsError, read_options
from broker.reload import Keeper, Outcome, Reloading

TWO = """
port = 1
prefetch = 7
log_level = "debug"
[destination."a"]
max_messages = 1
[[listener]]
port = 2
"""


class Room:
    """Takes over some settings."""

    def __init__(self, *settings: str, objection: str = "") -> None:
        self.keeper = Keeper(settings, self._prepare)
        self.objection = objection
        self.prepared = 0
        self.held: Options | None = None

    def _prepare(self, options: Options) -> Callable[[], None]:
        self.prepared += 1
        if self.objection:
            raise OptionsError(self.objection)

        def commit() -> None:
            self.held = options

        return commit


def reloading(text: str, *rooms: Room) -> Reloading:
    return Reloading(
        Options(), lambda: read_options(text, "hoof.toml"), [room.keeper for room in rooms]
    )


def test_what_somebody_takes_over_holds_and_the_rest_is_named() -> None:
    """Nobody sees a setting that waits for the restart."""
    one, other = Room("prefetch", "policies"), Room("log_level")
    outcome = reloading(TWO, one, other).reload()
    waiting = "waiting for a restart: port, [listener]"
    assert outcome == Outcome(True, f"changed: prefetch, log_level, [destination]; {waiting}")
    assert one.held is not None
    assert other.held is one.held
    assert (one.held.prefetch, one.held.log_level) == (7, "debug")
    assert (one.held.port, one.held.more_listeners) == (Options().port, ())


def test_one_objection_keeps_everything() -> None:
    """Whoever has prepared before does not commit; the next time is a new one."""
    first, second, third = Room("prefetch"), Room(objection="cannot read x.pem"), Room("log_level")
    again = reloading(TWO, first, second, third)
    assert again.reload() == Outcome(False, "cannot read x.pem")
    assert (first.prepared, first.held, third.held) == (1, None, None)
    second.objection = ""
    assert again.reload().is_taken
    assert first.held is third.held is not None


def test_a_file_that_cannot_be_read_is_nobodys_to_prepare() -> None:
    room = Room("prefetch")
    assert reloading("port = ", room).reload().text.startswith("hoof.toml: ")
    assert room.prepared == 0


def test_the_second_time_only_what_has_changed_since_is_told() -> None:
    room = Room("prefetch", "policies", "log_level")
    again = reloading(TWO, room)
    again.reload()
    assert again.reload().text == "changed: nothing; waiting for a restart: port, [listener]"


HOSTS = """
[virtual_host.shop]
prefetch = 7
memory_limit = 7
people = "@shop"
[virtual_host.shop.destination.a]
max_messages = 1
[virtual_host.new]
"""


def test_what_a_virtual_host_says_is_taken_over_if_the_setting_is() -> None:
    """The rest of it waits, and so do hosts that come or go."""
    before = read_options("prefetch = 5\n[virtual_host.shop]\n[virtual_host.old]", "hoof.toml")
    room = Room("prefetch", "policies", "people")
    reloading = Reloading(before, lambda: read_options(HOSTS, "hoof.toml"), [room.keeper])
    said = reloading.reload().text
    assert said == "changed: prefetch, [virtual_host]; waiting for a restart: [virtual_host]"
    assert room.held is not None
    hosts = room.held.hosts
    assert [*hosts] == ["shop", "old"]
    assert (hosts["shop"].prefetch, hosts["shop"].people) == (7, "@shop")
    assert [name for name, _ in hosts["shop"].policies] == ["a"]
    assert hosts["shop"].memory_limit == before.memory_limit
    assert hosts["old"].prefetch == Options().prefetch
