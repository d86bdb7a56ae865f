"""What `twist hoofbeat` runs: the same settings and the same service as `hoofbeat run`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.internet import reactor
from twisted.python import usage

from broker.options import FIELDS, OptionsError, change_options, read_options
from broker.options import Options as Settings
from broker.service import CannotStart, make_service, tune_process


class Options(usage.Options):
    """The flags of `hoofbeat run`."""

    optParameters = [
        [name, None, None, str(FIELDS[name].metadata["reason"]), int if name == "port" else str]
        for name in ("host", "port", "data", "store")
    ] + [["config", "c", None, "TOML file with any setting", str]]


def makeService(options: dict[str, Any]) -> IService:
    """Twisted: return the broker as a service."""
    settings = Settings()
    try:
        if options["config"] is not None:
            settings = read_options(Path(options["config"]).read_text(), options["config"])
        flags = {
            name: options[name]
            for name in ("host", "port", "data", "store")
            if options[name] is not None
        }
        tune_process()
        return make_service(change_options(settings, flags, "command line"), reactor)
    except (OptionsError, CannotStart, OSError) as error:
        print(f"hoofbeat: {error}", file=sys.stderr)
        raise SystemExit(2) from None  # twist shows a traceback for anything else
