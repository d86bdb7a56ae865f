"""What the kernel knows about a process: CPU time and memory.

Reads Linux's /proc; on another system the functions raise `ProcessError`, and the columns stay empty.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

PROC = Path("/proc")


class ProcessError(Exception):
    """This system, or this user's rights, do not tell."""


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds all threads of a process have used, user and system.

    Raises `ProcessError`. The kernel counts in ticks, mostly of 10 ms.
    """
    # proc(5): the name in parentheses may hold anything, so count the fields from the last ")".
    fields = _read(f"{pid}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stolen_seconds() -> float:
    """Return the CPU seconds that the host gave to others while we wanted them. Raises `ProcessError`.

    proc(5), "steal": only a virtual machine knows it, on real hardware it stays 0.
    """
    return int(_read("stat").split("\n", 1)[0].split()[8]) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> dict[str, int]:
    """Return bytes of RSS (`rss`) and of its anonymous part (`anonymous`). Raises `ProcessError`."""
    names = {"VmRSS": "rss", "RssAnon": "anonymous"}
    found = {}
    for line in _read(f"{pid}/status").splitlines():
        name, _, value = line.partition(":")
        if name in names:
            found[names[name]] = int(value.split()[0]) * 1024
    if len(found) != len(names):
        raise ProcessError(f"/proc/{pid}/status does not tell the memory")
    return found


def listening_process(host: str, port: int) -> int:
    """Return the process that listens on a port of this machine. Raises `ProcessError`."""
    if not _is_local(host):
        raise ProcessError(f"{host} is another machine")
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        for line in _read(table).splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:  # 0A: LISTEN
                inodes.add(f"socket:[{fields[9]}]")
    for process in PROC.glob("[0-9]*"):
        try:
            for descriptor in (process / "fd").iterdir():
                if str(descriptor.readlink()) in inodes:
                    return int(process.name)
        except OSError:  # ended meanwhile, or another user's
            continue
    raise ProcessError(f"no process of this user listens on port {port}")


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
    except OSError:
        return False


def _read(name: str) -> str:
    try:
        return (PROC / name).read_text()
    except OSError as error:
        raise ProcessError(f"{PROC / name}: {error.strerror}") from error
