"""A client without a socket: which bytes a call is, what frames make of it, what a lost connection means.

`caller` opens calls and reads replies, over `calls`, the table of those that wait; `batch`, `broadcast` and
`items` are calls with more than one result. `engine`, `flow` and `loopface` are for event loops. Pure.
"""
