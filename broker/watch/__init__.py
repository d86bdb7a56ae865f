"""Watching and asking: advisories, statistics, and who manages what is scheduled.

All of it answers in messages, on destinations whose names begin with `ActiveMQ.`; it costs nothing while
nobody asks.
"""
