"""The brokers that some libraries want: each a context manager that starts a private one and gives its URL."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from broker.bench.targets import Fresh, end, lines
from tests.bench.peers.load import free_port

PATIENCE = 120.0  # seconds in which RabbitMQ must say something
#: Debian's /usr/sbin/rabbitmq-server is a wrapper that insists on a user of its own.
PLACES = ("/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/usr/sbin")


class Missing(Exception):
    """Something is not installed here; the text says what, and how to get it."""


@contextlib.contextmanager
def hoofbeat() -> Iterator[str]:
    """Run a fresh hoofbeat."""
    with Fresh("hoofbeat") as broker:
        yield broker.url


@contextlib.contextmanager
def rabbitmq() -> Iterator[str]:
    """Run a RabbitMQ node with all its files in a temporary directory. Raises `Missing`.

    It listens on loopback only, and so does the epmd that Erlang starts for it, on a port of its own.
    """
    server = shutil.which("rabbitmq-server", path=os.pathsep.join(PLACES)) or shutil.which(
        "rabbitmq-server"
    )
    epmd = shutil.which("epmd")
    if server is None or epmd is None:
        raise Missing("RabbitMQ is not installed (Debian: apt-get install rabbitmq-server)")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="hoofbeat-peers-") as directory:
        environment = os.environ | {
            "HOME": directory,  # the Erlang cookie
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(free_port()),
            "RABBITMQ_NODENAME": f"hoofbeat-peers-{os.getpid()}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": f"{directory}/mnesia",
            "RABBITMQ_LOG_BASE": f"{directory}/log",
            "RABBITMQ_LOGS": f"{directory}/log/rabbit.log",
            "RABBITMQ_CONFIG_FILE": f"{directory}/rabbitmq",
            "RABBITMQ_CONF_ENV_FILE": f"{directory}/rabbitmq-env.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory}/enabled_plugins",
            "RABBITMQ_PID_FILE": f"{directory}/pid",
            "RUNNING_UNDER_SYSTEMD": "1",  # no shell around it that would swallow our signals
        }
        Path(directory, "enabled_plugins").write_text("[].\n")
        node = subprocess.Popen(
            [server],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            said = []
            for line in lines(node, PATIENCE):
                said.append(line)
                if "completed with" in line:
                    break
            else:
                raise Missing("RabbitMQ does not start: " + " ".join(said)[-300:])
            yield f"amqp://guest:guest@127.0.0.1:{port}/"
        finally:
            end(node)
            subprocess.run([epmd, "-kill"], env=environment, capture_output=True, check=False)


BROKERS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "": lambda: contextlib.nullcontext("-"),
    "hoofbeat": hoofbeat,
    "rabbitmq": rabbitmq,
}
