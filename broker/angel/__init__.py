"""The broker as a daemon: `hoofbeat start`, `stop`, `status`, `restart`, `reload`, and the angel that keeps it running.

start.py, stop.py, status.py, restart.py, reload.py
                the commands, a short process each
instance.py     which broker is meant, and its pid file: what all of them know of each other
daemon.py       a command becomes a daemon: Twisted's twistd
monitor.py      the angel: Twisted's procmon starts the broker, and starts it again when it has died
leash.py        the broker's end: when its angel is gone, it ends too
"""
