"""A worker without a socket: which functions it offers, which requests it runs, what is said about each.

`registration`, `signature` and `methods` know functions and read requests into `asked`; `serving` decides
what becomes of a request (`job`), with `once`, `slots`, `tally` and `limits`; `loopworker` runs it on an event
loop. Pure; what all workers share besides is in `rpc.offer`.
"""
