"""Authentication: who a client is. The users file, other checkers through `twisted.cred`, and what slows guessing down.

Loaded where logins are checked; of it an open broker knows no more than `throttle`, for the passcodes of its peers.
"""
