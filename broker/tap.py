"""What `twist hoofbeat` runs: the same settings and the same service as `hoofbeat run`."""

from __future__ import annotations

import sys
from typing import Any

from twisted.application.service import IService
from twisted.internet import reactor
from twisted.python import usage

from broker.cli import FLAGS, TYPES, options_from
from broker.net.wall import steady_timers
from broker.options import FIELDS, OptionsError
from broker.service import make_service, tune_process
from broker.virtualhost import CannotStart

REASONS = {name: str(FIELDS[name].metadata["reason"]) for name in FLAGS}


class Options(usage.Options):
    """The flags of `hoofbeat run`."""

    optParameters = [
        [name, None, None, REASONS[name], TYPES.get(name, str)]
        for name in FLAGS
        if type(FIELDS[name].default) in (str, int)
    ] + [["config", "c", None, "TOML file with any setting", str]]

    def __init__(self) -> None:
        super().__init__()
        self["auth"] = self["insecure"] = None

    def opt_auth(self, description: str) -> None:
        """Check logins so: TYPE:ARGUMENT; may be given several times."""
        self["auth"] = [*(self["auth"] or ()), description]

    def opt_help_auth(self) -> None:
        """List what --auth takes."""
        from broker.auth.checkers import help_text

        print(help_text(), end="")
        raise SystemExit(0)

    def opt_insecure(self) -> None:
        """Let everybody in who reaches the first listener, though that is not loopback only."""
        self["insecure"] = True


def makeService(options: dict[str, Any]) -> IService:
    """Twisted: return the broker as a service."""
    try:
        settings = options_from(options["config"], options)
        tune_process()
        steady_timers(reactor)
        return make_service(settings, reactor)
    except (OptionsError, CannotStart) as error:
        print(f"hoofbeat: {error}", file=sys.stderr)
        raise SystemExit(2) from None  # twist shows a traceback for anything else
