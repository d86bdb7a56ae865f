"""A worker without a socket: which functions it offers, which requests it runs, what is said about each.

`registration`, `signature` and `methods` know functions and read requests into `asked`; `serving` decides
what becomes of a request (`job`), `loopworker` runs it on an event loop. `offer` is what all workers share. Pure,
but for `offer` and `processes`.
"""
